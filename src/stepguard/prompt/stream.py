"""The token law: ids of a stream of text are the ids of the whole text.

A byte-level BPE tokenizer first cuts text into pre-tokens; merges never cross them. So ids are
final as soon as no further text can move the border behind them. Of every text only the part from
the last such border on is held back, as text, and encoded again with what follows.

A border is final when the text after it holds more than

- a run of white space that reaches the end (`\\s*[\\r\\n]+` and `\\s+(?!\\S)` look to its end),
- a contraction that may still grow ("'r" becomes "'re"),
- a character that may still be composed, or reordered, with marks that follow (NFC),

and one character more: greedy patterns grow their match to the right, never to the left.

Held text is bounded by `HELD_IDS` ids and `HELD_CHARS` characters. Over that bound the text is cut
where it ends: everything becomes final, and what follows is encoded as a text of its own. The law
is then: ids of the stream are the ids of the whole text, cut at these ends.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from tokenizers import Tokenizer

__all__ = ["HELD_CHARS", "HELD_IDS", "Advance", "advance"]

HELD_IDS = 64
HELD_CHARS = 16_384

# `Tokenizer.encode` keeps the interpreter lock and `encode_batch` starts threads of its own, so
# long text goes through `encode` in slices of a few milliseconds; in between others may run.
_SLICE = 2_048


@dataclass(frozen=True, slots=True)
class Advance:
    """Ids that are final now, the text that is not, and whether the bound cut the text here."""

    ids: list[int]
    held: str
    capped: bool


def advance(tokenizer: Tokenizer, held: str, text: str) -> Advance:
    """Reads `text` after `held` (normalised text of an earlier Advance)."""
    ids: list[int] = []
    tail: list[int] = []
    at, size = 0, _SLICE
    while at < len(text):
        final, tail, held = _step(tokenizer, held + text[at : at + size])
        ids += final
        at += size
        # A pre-token longer than a slice: read twice as much each time, or time is quadratic.
        size = _SLICE if len(held) < _SLICE else 2 * size
    if len(tail) > HELD_IDS or len(held) > HELD_CHARS:
        return Advance(ids + tail, "", True)
    return Advance(ids, held, False)


def _step(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[int], str]:
    """Final ids, ids of the held text, held text."""
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    encoding = tokenizer.encode(text, add_special_tokens=False)
    ids = encoding.ids
    k, start = _last_border(text, encoding.word_ids, encoding.offsets)
    return ids[:k], ids[k:], text[start:]


def _last_border(
    text: str, words: list[int | None], offsets: list[tuple[int, int]]
) -> tuple[int, int]:
    """Index of the first id behind the last final border, and the border's place in the text."""
    limit = _limit(text)
    for k in range(len(words) - 1, 0, -1):
        start = offsets[k][0]
        # Characters that the vocabulary lacks have no id; a border beside them is not seen
        # exactly, so an earlier one is taken.
        exact = words[k] != words[k - 1] and offsets[k - 1][1] == start
        if exact and start <= limit and _opens(text[start]):
            return k, start
    return 0, 0


def _limit(text: str) -> int:
    """The last place at which a border may be final."""
    i, marks = len(text), False
    while i and (text[i - 1].isspace() or not _opens(text[i - 1])):
        i -= 1
        marks = marks or not _opens(text[i])
    if i < len(text) and not marks:
        return i
    apostrophe = max(text.rfind("'", max(i - 3, 0)), text.rfind("\u2019", max(i - 3, 0)))
    return max(i - 1 if apostrophe < 0 else apostrophe - 1, 0)


def _opens(char: str) -> bool:
    """Whether nothing to the left can ever be composed or reordered with this character."""
    if char < "\u0300":
        return True
    if "\u1160" <= char <= "\u11ff" or "\ud7b0" <= char <= "\ud7ff":
        return False  # Hangul vowels and finals join the syllable before them
    return unicodedata.category(char) not in ("Mn", "Mc", "Me", "Cn")
