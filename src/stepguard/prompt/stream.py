"""The token law: ids of a stream of text are the ids of the whole text.

A byte-level BPE tokenizer first cuts text into pre-tokens; merges never cross them. So ids are
final as soon as no further text can move the border behind them. Of every text only the part from
the last such border on is held back, as text, and encoded again with what follows.

A border is final when the text after it holds more than

- a run of white space that reaches the end (`\\s*[\\r\\n]+` and `\\s+(?!\\S)` look to its end),
- a contraction that may still grow ("'r" becomes "'re"),
- a character that may still be composed, or reordered, with marks that follow (NFC),

and one character more: greedy patterns grow their match to the right, never to the left.

Held text is bounded twice, and what is over a bound is cut:

- at `RUN_CHARS` characters, wherever that is: before its last character with the marks that belong
  to it (one that can still be composed), or, where it is all white space or marks, at its end;
- at `HELD_IDS` ids, where the text of a step ends: there.

Up to a cut everything becomes final, and what follows is encoded as a text of its own. The law is
then: ids of the stream are the ids of the whole text, cut at these places. Which text is held after
n characters depends on these n characters only, not on the slices in which they were read: borders
are final for good, and the place up to which they are never moves back as text grows. So a long run
is cut at the same places however it is read, as long as no step ends within it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from tokenizers import Tokenizer

from stepguard.prompt.patience import poll
from stepguard.prompt.slices import RUN_CHARS, last_opening, opens

__all__ = ["HELD_IDS", "RUN_CHARS", "Advance", "advance", "encode"]

HELD_IDS = 64

# `Tokenizer.encode` keeps the interpreter lock and `encode_batch` starts threads of its own, so
# long text goes through `encode` in slices of 1 to 3 ms. No call gets more than RUN_CHARS.
_SLICE = 1_024


@dataclass(frozen=True, slots=True)
class Advance:
    """Ids that are final now, the text that is not, and where bounds cut the text.

    `cuts` are places in `held + text` as it was read, ascending.
    """

    ids: list[int]
    held: str
    cuts: tuple[int, ...]


def advance(tokenizer: Tokenizer, held: str, text: str) -> Advance:
    """Reads `text` after `held` (the text that an earlier Advance held back)."""
    text, end = held + text, len(held)
    ids: list[int] = []
    tail: list[int] = []
    cuts: list[int] = []
    start = 0
    while end < len(text):
        poll()
        end = min(end + _SLICE, start + RUN_CHARS, len(text))
        final, tail, border = _read(tokenizer, text[start:end])
        ids += final
        start += border
        if end - start == RUN_CHARS:
            cut = _cut(text, start, end)
            ids += tail if cut == end else encode(tokenizer, text[start:cut])
            tail = encode(tokenizer, text[cut:end])
            start = cut
            cuts.append(cut)
    if len(tail) > HELD_IDS:
        ids += tail
        start = end
        cuts.append(end)
    return Advance(ids, text[start:], tuple(cuts))


def _cut(text: str, start: int, end: int) -> int:
    at = last_opening(text, start, end)
    # How a run of white space ends says where its borders are: no cut may change that end.
    return end if not at or text[start:at].isspace() else at


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of a whole text; none of no text."""
    return list(tokenizer.encode(text, add_special_tokens=False).ids) if text else []


def _read(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[int], int]:
    """Final ids, ids of the text that is held, and where that begins."""
    normal = text
    if tokenizer.normalizer is not None:
        normal = tokenizer.normalizer.normalize_str(text)
    encoding = tokenizer.encode(normal, add_special_tokens=False)
    ids = encoding.ids
    words = encoding.word_ids
    if not ids or words[0] == words[-1]:  # one pre-token, however long
        return [], ids, 0
    k, border = _last_border(normal, words, encoding.offsets)
    if border and normal != text:
        border = _same_place(normal, border, text)
    return ids[:k], ids[k:], border


def _same_place(normal: str, border: int, text: str) -> int:
    """Where in the text stands what stands at `border` in its normal form, and opens."""
    # Composing neither adds, removes nor moves a character that opens.
    before = sum(map(opens, normal[:border]))
    places = (at for at, char in enumerate(text) if opens(char))
    return next(islice(places, before, None), len(text))


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
        if exact and start <= limit and opens(text[start]):
            return k, start
    return 0, 0


def _limit(text: str) -> int:
    """The last place at which a border may be final; never less than for a shorter text."""
    end = len(text)
    while end and not opens(text[end - 1]):
        end -= 1
    last = max(end - 1, 0)
    if end == len(text) and text[last : last + 1].isspace():
        return len(text.rstrip())
    for at in range(last, max(last - 3, -1), -1):
        if text[at : at + 1] in ("'", "\u2019"):
            return max(at - 1, 0)
        if not text[at : at + 1].isalpha():
            break
    return last
