"""Content that imitates the structure of the prompt gets full-width brackets, and is counted.

What is matched: literal texts of template, chat template and form anywhere; `[KEY]:` at the start
of a line; whole lines; and control tokens of any model family (`<|...|>`). The shadow of the
content is searched, without regard to case and with any white space where the delimiter has some;
again in its NFC form where that differs. No quantifier can backtrack into another one, so the time
is linear whatever the content.

Between delimiters the pattern matches fillers, short stretches where none can begin: so a search
comes back to the interpreter now and then, and other threads can run.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stepguard.errors import PromptError
from stepguard.prompt.patience import poll
from stepguard.prompt.shadow import composable, places, shadow
from stepguard.prompt.slices import composed

__all__ = ["Delimiters", "Neutraliser"]

_BREAKS = "\\n\\r\\x0b\\x0c\\x1c-\\x1e\\x85\u2028\u2029"
_BLANK = "[ \\t\\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]*+"
_LINE_START = f"(?<![^{_BREAKS}]){_BLANK}"
_LINE_END = f"{_BLANK}(?![^{_BREAKS}])"
_CONTROL = r"<\s*+[|｜][^|｜<>\n]{1,64}[|｜]\s*+>"
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
        common += [f"{_LINE_START}{_line(t)}{_LINE_END}" for t in _longest_first(delimiters.lines)]
        keys = "|".join(map(_loose, _longest_first(delimiters.keys)))
        filler = _filler((*delimiters.texts, *delimiters.lines))
        self._plain = _compile([*common, *([_key(keys)] if keys else []), filler])
        self._agent = _compile([*common, _key(_ANY_KEY), filler])
        names = (*delimiters.texts, *delimiters.lines, *delimiters.keys)
        self._may_compose = not "".join(names).isascii()

    def __call__(self, text: str, agent: bool) -> tuple[str, int]:
        """The text with brackets of forged delimiters widened, and how many were found.

        A lone surrogate, which no tokenizer takes, becomes U+FFFD and counts too.
        """
        pattern = self._agent if agent else self._plain
        text, lone = _SURROGATE.subn("\ufffd", text)
        text, count = _widen_all(pattern, text)
        for other in self._compositions(text):
            changed, more = _widen_all(pattern, other)
            if more:
                return changed, lone + count + more
        return text, lone + count

    def _compositions(self, text: str) -> Iterator[str]:
        """Other forms of the text, in which delimiters may appear that it does not show yet."""
        normal = composed(text)
        if normal != text:
            yield normal  # as the tokenizer may do
        if self._may_compose and not text.isascii():
            yield composed(composable(text))


def _compile(alternatives: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


def _longest_first(texts: Iterable[str]) -> list[str]:
    return sorted(set(texts), key=lambda text: (-len(text), text))


def _words(text: str) -> list[str]:
    """The words of a delimiter's shadow."""
    return shadow(unicodedata.normalize("NFC", text)).split() or [text]


def _filler(delimiters: Iterable[str]) -> str:
    """What lies between delimiters, some of it: the pattern's only group.

    At the start of a line a delimiter may begin with blanks: a filler begins there only where none
    was found, and never goes on behind a line break.
    """
    first = "".join(re.escape(_words(text)[0][0]) for text in delimiters) + "<\\["
    return f"([^{first}{_BREAKS}]{{1,1000}}+|[{_BREAKS}]{{1,1000}}+|[{first}])"


def _loose(text: str) -> str:
    """A pattern for the text's shadow, with any or no white space where the text has some.

    Inside its brackets there may be more.
    """
    words = _words(text)
    loose = r"\s*+".join(map(re.escape, words))
    if words[0][0] in "<[":
        opening = re.escape(words[0][0])
        loose = opening + r"\s*+" + loose[len(opening) :].removeprefix(r"\s*+")
    if words[-1][-1] in ">]" and len("".join(words)) > 1:
        closing = re.escape(words[-1][-1])
        loose = loose[: -len(closing)].removesuffix(r"\s*+") + r"\s*+" + closing
    return loose


def _line(text: str) -> str:
    """A pattern for a whole line: blanks may stand between any two of its characters, too."""
    words = (_BLANK.join(map(re.escape, word)) for word in _words(text))
    return r"\s*+".join(words)


def _key(names: str) -> str:
    return f"{_LINE_START}\\[{_BLANK}(?:{names}){_BLANK}\\]{_BLANK}:"


def _widen_all(pattern: re.Pattern[str], text: str) -> tuple[str, int]:
    """Widened until nothing is found any more, and how many were found."""
    total, seen = 0, shadow(text)
    while found := list(_found(pattern, seen)):
        origin = range(len(text)) if seen == text else places(text)
        parts, end = [], 0
        for first, last in found:
            begin, behind = origin[first], origin[last - 1] + 1
            parts += [text[end:begin], _widen(text[begin:behind])]
            end = behind
        text = "".join([*parts, text[end:]])
        total, seen = total + len(found), shadow(text)
    return text, total


def _found(pattern: re.Pattern[str], seen: str) -> Iterator[tuple[int, int]]:
    for match in pattern.finditer(seen):
        poll()
        if match.lastindex is None:
            yield match.span()


def _widen(found: str) -> str:
    for table in (_BRACKETS, _WIDE):
        wide = found.translate(table)
        if wide != found:
            return wide
    # A delimiter without any sign: its first letter, or what stands for it in other scripts.
    at = next((i for i, c in enumerate(found) if "!" <= c <= "~"), None)
    if at is None:
        return ("_" if found[0] == "\ufffd" else "\ufffd") + found[1:]
    return found[:at] + chr(ord(found[at]) + 0xFEE0) + found[at + 1 :]
