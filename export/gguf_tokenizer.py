"""The tokenizer that a GGUF file describes in its metadata."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from stepguard.errors import TokenizerError

from .tokenizer import AddedToken, TokenizerParts, strip

log = logging.getLogger("stepguard.export")

# The metadata name a pre-tokenizer; these are what the names stand for. Facts of the tokenizers'
# families, as the reference implementations split.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_QWEN35 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS = {"llama-bpe": _LLAMA3, "llama3": _LLAMA3, "llama-v3": _LLAMA3}
_SPLITS |= {"qwen2": _QWEN2, "deepseek-r1-qwen": _QWEN2, "qwen35": _QWEN35}
_NFC = frozenset({"qwen2", "deepseek-r1-qwen", "qwen35"})
_PLAIN = frozenset({"gpt-2", "default"})
_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5


def tokenizer_of_gguf(metadata: Mapping[str, Any], vocabulary: int) -> TokenizerParts:
    """Builds the tokenizer from `tokenizer.ggml.*`; TokenizerError when it is of another kind."""
    where = "GGUF tokenizer"
    model, pre = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre", "default")
    if model != "gpt2":
        raise TokenizerError(
            where,
            expected="byte-level BPE (tokenizer.ggml.model gpt2)",
            got=repr(model),
            fix="Guards with this tokenizer are not supported",
        )
    try:
        tokens, merges = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.merges"]
    except KeyError as error:
        raise TokenizerError(where, expected=str(error), got="no such field") from error
    types = metadata.get("tokenizer.ggml.token_type", [1] * len(tokens))
    kinds = list(zip(tokens, types, strict=True))
    added = [
        AddedToken(text, number, kind == _CONTROL)
        for number, (text, kind) in enumerate(kinds)
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    vocab = {t: i for i, (t, kind) in enumerate(kinds) if kind != _UNUSED}
    tokenizer = {
        "normalizer": {"type": "NFC"} if pre in _NFC else None,
        "pre_tokenizer": _pre_tokenizer(where, pre),
        "decoder": _byte_level(use_regex=True),
        "model": _bpe(vocab, [merge.split(" ") for merge in merges], pre),
    }
    text, special = strip(where, tokenizer, added, vocabulary)
    names = {"bos_token": "tokenizer.ggml.bos_token_id", "eos_token": "tokenizer.ggml.eos_token_id"}
    variables = {name: tokens[metadata[key]] for name, key in names.items() if key in metadata}
    return TokenizerParts(text, special, _chat_template(metadata), variables)


def _bpe(vocab: dict[str, int], merges: list[list[str]], pre: str) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        # Llama 3 takes a word that is a token as it is, whatever the merges would make of it.
        "ignore_merges": _SPLITS.get(pre) == _LLAMA3,
        "vocab": vocab,
        "merges": merges,
    }


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def _pre_tokenizer(where: str, pre: str) -> dict[str, Any]:
    if pre == "smollm":
        digits = {"type": "Digits", "individual_digits": True}
        return {"type": "Sequence", "pretokenizers": [digits, _byte_level(use_regex=True)]}
    if pre in _PLAIN:
        if pre == "default":
            log.warning("the GGUF file names no pre-tokenizer; GPT-2's is taken")
        return _byte_level(use_regex=True)
    if pre not in _SPLITS:
        raise TokenizerError(
            where,
            expected=f"a pre-tokenizer out of {', '.join(['smollm', *_PLAIN, *_SPLITS])}",
            got=repr(pre),
            fix="Export from the safetensors checkpoint, which brings its tokenizer.json",
        )
    split: dict[str, Any] = {
        "type": "Split",
        "pattern": {"Regex": _SPLITS[pre]},
        "behavior": "Isolated",
    }
    split["invert"] = False
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(use_regex=False)]}


def _chat_template(metadata: Mapping[str, Any]) -> str:
    template = metadata.get("tokenizer.chat_template")
    if not isinstance(template, str):
        raise TokenizerError(
            "GGUF tokenizer",
            expected="a chat template",
            got="none",
            fix="Take a GGUF file that holds tokenizer.chat_template",
        )
    return template
