"""Pieces: a prompt is a list of texts and token ids. Ids split the text around them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stepguard.errors import PromptError

__all__ = ["Piece", "common_length", "pieces_from_manifest", "split_special"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Text to encode, or, where `ids` is not empty, these ids (`text` then says what they are)."""

    text: str
    ids: tuple[int, ...] = ()

    def to_manifest(self) -> dict[str, object]:
        return {"text": self.text, "ids": list(self.ids)} if self.ids else {"text": self.text}


def split_special(text: str, special: Mapping[str, int]) -> tuple[Piece, ...]:
    """The text cut at special tokens, the longest match first; empty texts are left out."""
    names = sorted((name for name in special if name), key=lambda name: (-len(name), name))
    if not names:
        return (Piece(text),) if text else ()
    parts = re.split(f"({'|'.join(map(re.escape, names))})", text)
    return tuple(
        Piece(part, (special[part],)) if i % 2 else Piece(part)
        for i, part in enumerate(parts)
        if part
    )


def common_length(a: Sequence[object], b: Sequence[object]) -> int:
    """How many items from the start on are the same in both."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def pieces_from_manifest(data: object, where: str) -> tuple[Piece, ...]:
    """Raises PromptError that names the piece."""
    if not isinstance(data, list):
        raise PromptError(where, expected="a list of pieces", got=repr(data)[:80])
    return tuple(_piece(entry, f"{where}[{i}]") for i, entry in enumerate(data))


def _piece(entry: object, where: str) -> Piece:
    if not isinstance(entry, dict) or not {"text"} <= set(entry) <= {"text", "ids"}:
        raise PromptError(where, expected="'text' and perhaps 'ids'", got=repr(entry)[:80])
    text, ids = entry["text"], entry.get("ids", [])
    if not isinstance(text, str) or not (text or ids):
        raise PromptError(f"{where}.text", expected="a string, not empty", got=repr(text)[:80])
    return Piece(text, token_ids(ids, f"{where}.ids", empty="ids" not in entry))


def token_ids(value: object, where: str, *, empty: bool = False) -> tuple[int, ...]:
    """A list of token ids as a tuple. Raises PromptError."""
    good = isinstance(value, list) and (value or empty)
    if not good or not all(type(i) is int and 0 <= i < 2**31 for i in value):  # type: ignore[attr-defined]
        raise PromptError(where, expected="a list of token ids", got=repr(value)[:80])
    return tuple(value)  # type: ignore[arg-type]
