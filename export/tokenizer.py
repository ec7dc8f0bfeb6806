"""tokenizer.json of a model directory: byte-level BPE without a single added token.

Text can never become a special token that way, whatever it contains. What the checkpoint's
tokenizer calls special is returned beside it, for the prompt's pieces.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stepguard.errors import TokenizerError


@dataclass(frozen=True)
class AddedToken:
    """A token that the checkpoint matches as a whole; `control` when it never stands for text."""

    text: str
    number: int
    control: bool


@dataclass(frozen=True)
class TokenizerParts:
    """`text` is tokenizer.json, `special` the ids of the tokens that are not text.

    `variables` are the names that the chat template may use, like bos_token.
    """

    text: str
    special: dict[str, int]
    chat_template: str
    variables: dict[str, str]


def strip(
    where: str, tokenizer: Mapping[str, Any], added: Iterable[AddedToken], vocabulary: int
) -> tuple[str, dict[str, int]]:
    """(tokenizer.json without added tokens, ids of the special tokens by text).

    `tokenizer` is a parsed tokenizer.json, `vocabulary` the rows of the embedding table. Raises
    TokenizerError for another model than BPE and for ids beyond the table; the rest is checked
    where the text is loaded.
    """
    model = _bpe_of(where, tokenizer)
    special = _drop_special(where, model, added)
    highest = max([*model["vocab"].values(), *special.values()], default=-1)
    if highest >= vocabulary:
        raise TokenizerError(
            where,
            expected=f"ids below {vocabulary}, the rows of the embedding table",
            got=str(highest),
            fix="Tokenizer and weights are of different models",
        )
    clean: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": tokenizer.get("normalizer"),
        "pre_tokenizer": tokenizer.get("pre_tokenizer"),
        "post_processor": None,
        "decoder": tokenizer.get("decoder"),
        "model": model,
    }
    return json.dumps(clean, ensure_ascii=False, separators=(",", ":")), special


def _bpe_of(where: str, tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    model: dict[str, Any] = tokenizer.get("model") or {}
    kind = model.get("type", "BPE" if "merges" in model else None)
    if kind != "BPE" or not isinstance(model.get("vocab"), dict) or "merges" not in model:
        raise TokenizerError(
            where,
            expected="byte-level BPE with a pre-tokenizer",
            got=f"a {kind} model",
            fix="Guards with this tokenizer are not supported",
        )
    return {**model, "type": "BPE", "vocab": dict(model["vocab"])}


def _drop_special(where: str, model: dict[str, Any], added: Iterable[AddedToken]) -> dict[str, int]:
    """Takes special tokens out of the vocabulary, so that no merge and no lookup finds them."""
    vocab, special = model["vocab"], {}
    made = {"".join(_pair(merge)) for merge in model["merges"]}
    for token in added:
        known = vocab.get(token.text, token.number)
        if known != token.number:
            raise TokenizerError(
                where, expected=f"one id of {token.text!r}", got=f"{known} and {token.number}"
            )
        ordinary = token.text in made or (token.text in vocab and len(token.text) == 1)
        if ordinary and not token.control:
            continue  # text like any other, added only to keep it whole
        special[token.text] = token.number
        if not ordinary:
            vocab.pop(token.text, None)
    if model.get("unk_token") in special:
        model["unk_token"] = None
    return special


def _pair(merge: Any) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right
