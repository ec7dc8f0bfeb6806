"""Pieces: a prompt is a list of texts and token ids. Ids split the text around them.

One piece may stand for the agent's profile, which every session brings: it is content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stepguard.errors import PromptError

__all__ = ["Piece", "common_length", "pieces_from_manifest", "split_special", "with_profile"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Text to encode, or, where `ids` is not empty, these ids (`text` then says what they are).

    With `profile` it has neither: there the profile of the session stands.
    """

    text: str
    ids: tuple[int, ...] = ()
    profile: bool = False

    def to_manifest(self) -> dict[str, object]:
        if self.profile:
            return {"profile": True}
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


def with_profile(pieces: Sequence[Piece], profile: str) -> tuple[Piece, ...]:
    """The pieces with the profile in its place, one text with the texts beside it."""
    done: list[Piece] = []
    joins = False  # whether the piece before goes on
    for piece in pieces:
        text = Piece(profile) if piece.profile else piece
        if done and not done[-1].ids and not text.ids and (joins or piece.profile):
            done[-1] = Piece(done[-1].text + text.text)
        else:
            done.append(text)
        joins = piece.profile
    return tuple(piece for piece in done if piece.text or piece.ids)


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
    if isinstance(entry, dict) and list(entry) == ["profile"] and entry["profile"] is True:
        return Piece("", profile=True)
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
