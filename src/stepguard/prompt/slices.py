"""Long text in slices of a few milliseconds, cut where composition (NFC) cannot see the cut.

Regular expressions, normalisation and `Tokenizer.encode` keep the interpreter lock until they are
done, so all of them get long text in slices; in between other threads run. Some are quadratic in
the length of one run of combining marks, so such a run is cut as well, wherever it is too long.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

__all__ = ["RUN_CHARS", "composed", "last_opening", "opens"]

RUN_CHARS = 2_048


def opens(char: str) -> bool:
    """Whether nothing to the left can ever be composed or reordered with this character."""
    if char < "\u0300":
        return True
    if "\u1160" <= char <= "\u11ff" or "\ud7b0" <= char <= "\ud7ff":
        return False  # Hangul vowels and finals join the syllable before them
    return unicodedata.category(char) not in ("Mn", "Mc", "Me", "Cn")


def composed(text: str) -> str:
    """The NFC form, save that marks more than `RUN_CHARS` behind their letter do not join it."""
    if text.isascii():
        return text
    return "".join(unicodedata.normalize("NFC", piece) for piece in _slices(text))


def _slices(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + RUN_CHARS
        if end < len(text):
            end = last_opening(text, start, end) or end
        yield text[start:end]
        start = end


def last_opening(text: str, start: int, end: int) -> int:
    """The place of the last character in `text[start + 1 : end]` that opens, 0 if none does."""
    for at in range(min(end, len(text)) - 1, start, -1):
        if opens(text[at]):
            return at
    return 0
