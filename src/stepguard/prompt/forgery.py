"""Content that imitates the structure of the prompt gets full-width brackets, and is counted.

What is matched: literal texts of template, chat template and form anywhere; `[KEY]:` at the start
of a line; whole lines; and control tokens of any model family (`<|...|>`). Matching ignores case
and characters of no width, tolerates other white space, and is repeated on the NFC form where that
differs. No quantifier can backtrack into another one, so the time is linear whatever the content.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from stepguard.errors import PromptError

__all__ = ["Delimiters", "Neutraliser"]

# Characters that show nothing: controls that are no white space, format characters, fillers,
# variation selectors, tags, combining marks. A tokenizer may drop or merge them.
_NO_WIDTH = (
    "\\x00-\\x08\\x0e-\\x1b\\x1f\\x7f-\\x84\\x86-\\x9f\\xad\u034f\u061c\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
    "\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001345f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_BREAKS = "\\n\\r\\x0b\\x0c\\x1c-\\x1e\\x85\u2028\u2029"
_BLANKS = " \\t\\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"

_SKIP = f"[{_NO_WIDTH}]*+"
_SPACE = f"[\\s{_NO_WIDTH}]*+"
_BLANK = f"[{_BLANKS}{_NO_WIDTH}]*+"
_LINE_START = f"(?<![^{_BREAKS}]){_BLANK}"
_LINE_END = f"{_BLANK}(?![^{_BREAKS}])"
_CONTROL = f"<{_SPACE}[|｜][^|｜<>\\n]{{1,64}}[|｜]{_SPACE}>"
_ANY_KEY = f"[^\\]{_BREAKS}]*+"

_SURROGATE = re.compile("[\ud800-\udfff]")
_WIDE = {ord(c): ord(c) + 0xFEE0 for c in "<>[](){}=#|*_:/"}
_BRACKETS = {ord(c): ord(c) + 0xFEE0 for c in "<>[]"}


@dataclass(frozen=True, slots=True)
class Delimiters:
    """What content must not imitate.

    `texts` are matched anywhere, `lines` when they fill a line, `keys` are the names of `[KEY]:` at
    the start of a line (in an agent's values every name counts, since agents have further keys).
    """

    texts: tuple[str, ...]
    lines: tuple[str, ...]
    keys: tuple[str, ...]

    def to_manifest(self) -> dict[str, list[str]]:
        return {"texts": list(self.texts), "lines": list(self.lines), "keys": list(self.keys)}

    @staticmethod
    def from_manifest(data: object) -> Delimiters:
        """Raises PromptError unless it is three lists of non-empty strings."""
        where, names = "prompt.delimiters", ("texts", "lines", "keys")
        if not isinstance(data, dict) or sorted(data) != sorted(names):
            raise PromptError(where, expected=f"the keys {', '.join(names)}", got=repr(data)[:80])
        for name in names:
            entries = data[name]
            if not isinstance(entries, list) or not all(isinstance(e, str) and e for e in entries):
                got = repr(entries)[:80]
                raise PromptError(
                    f"{where}.{name}", expected="a list of non-empty strings", got=got
                )
        return Delimiters(*(tuple(data[name]) for name in names))


class Neutraliser:
    """Makes content harmless. Call it with the content and whether it stands in an agent step."""

    def __init__(self, delimiters: Delimiters) -> None:
        common = [*map(_loose, _longest_first(delimiters.texts)), _CONTROL]
        common += [f"{_LINE_START}{_loose(t)}{_LINE_END}" for t in _longest_first(delimiters.lines)]
        keys = "|".join(map(_loose, _longest_first(delimiters.keys)))
        self._plain = _compile([*common, *([_key(keys)] if keys else [])])
        self._agent = _compile([*common, _key(_ANY_KEY)])

    def __call__(self, text: str, agent: bool) -> tuple[str, int]:
        """The text with brackets of forged delimiters widened, and how many were found.

        A lone surrogate, which no tokenizer takes, becomes U+FFFD and counts too.
        """
        pattern = self._agent if agent else self._plain
        text, lone = _SURROGATE.subn("\ufffd", text)
        text, count = _widen_all(pattern, text)
        if not unicodedata.is_normalized("NFC", text):
            # Delimiters that only appear once the tokenizer has composed the text.
            composed, more = _widen_all(pattern, unicodedata.normalize("NFC", text))
            if more:
                return composed, lone + count + more
        return text, lone + count


def _compile(alternatives: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


def _longest_first(texts: Iterable[str]) -> list[str]:
    return sorted(set(texts), key=lambda text: (-len(text), text))


def _loose(text: str) -> str:
    """A pattern for the text with anything of no width between its characters.

    White space matches any white space. Beside signs there may be none, or more than in the text.
    """
    words = text.split()
    loose = _SKIP.join(map(re.escape, words[0]))
    for before, word in pairwise(words):
        gap = _SPACE[:-2] + ("++" if before[-1].isalnum() and word[0].isalnum() else "*+")
        loose += gap + _SKIP.join(map(re.escape, word))
    first, last = text.strip()[:1], text.strip()[-1:]
    if first in "<[" and len(text.strip()) > 2:
        opening = re.escape(first)
        loose = opening + _SPACE + loose[len(opening) :].removeprefix(_SKIP)
    if last in ">]" and len(text.strip()) > 2:
        closing = re.escape(last)
        loose = loose[: -len(closing)].removesuffix(_SKIP) + _SPACE + closing
    return loose


def _key(names: str) -> str:
    return f"{_LINE_START}\\[{_BLANK}(?:{names}){_BLANK}\\]{_BLANK}:"


def _widen_all(pattern: re.Pattern[str], text: str) -> tuple[str, int]:
    total = 0
    while True:
        text, count = pattern.subn(_widen, text)
        if not count:
            return text, total
        total += count


def _widen(match: re.Match[str]) -> str:
    found = match.group()
    for table in (_BRACKETS, _WIDE):
        wide = found.translate(table)
        if wide != found:
            return wide
    # A delimiter without any sign: its first letter, or what stands for it in other scripts.
    at = next((i for i, c in enumerate(found) if "!" <= c <= "~"), None)
    if at is None:
        return "\ufffd" + found[1:]
    return found[:at] + chr(ord(found[at]) + 0xFEE0) + found[at + 1 :]
