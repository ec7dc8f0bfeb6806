"""Reads a rendered trajectory back, written from the layout alone and as loose as a model may be.

A text is read in several ways: as it is, composed, without what shows nothing. Every line break
of Unicode ends a line, case does not count, white space may stand wherever signs leave room for it.
It knows nothing of how content is made harmless: it only takes full-width signs back when it
compares contents.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

ROLES = ("user", "agent", "environment")
# Profile header, history header, and whether these are lines with a key in brackets.
LAYOUTS = {
    "agentdog-1.5": ("=== agent profile ===", "=== conversation history ===", False),
    "agentdog-1.0": ("=== agent profile ===", "=== conversation history ===", False),
    "short": ("profile", "steps", True),
}
_FILLERS = "\u115f\u1160\u17b4\u17b5\u2065\u2800\u3164\uffa0"
_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
_ASCII = {0xFEE0 + point: point for point in range(0x21, 0x7F)}


def shows_nothing(char: str) -> bool:
    """Characters of no width, by the Unicode data of this Python."""
    if char.isspace():
        return char == "\x1f"
    if unicodedata.category(char) in ("Mn", "Me", "Cf", "Cc"):
        return True
    return char in _FILLERS or "\ufff0" <= char <= "\ufff8" or "\U000e0000" <= char <= "\U000e0fff"


_shows_nothing = cache(shows_nothing)


def drop(text: str) -> str:
    return "".join(char for char in text if not _shows_nothing(char))


def join(text: str) -> str:
    """Without what shows nothing and keeps marks from their letters."""
    return "".join(c for c in text if unicodedata.combining(c) or not _shows_nothing(c))


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


READINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "composed": nfc,
    "without what shows nothing": drop,
    "composed, then without": lambda text: drop(nfc(text)),
    "joined, composed, without": lambda text: drop(nfc(join(text))),
}


@dataclass
class Read:
    """What was found. steps: role, and its parts as name ("" for none) and content."""

    profile: str = ""
    steps: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)


def lines_of(text: str) -> list[str]:
    return _BREAKS.sub("\n", text).split("\n")


def folded(text: str) -> str:
    """Without case, and without the marks that full case folding takes off a few letters."""
    return drop(text.casefold())


def key_of(line: str) -> tuple[str, str] | None:
    """Name and rest of a line that opens with a key in brackets, whatever its case."""
    found = re.match(r"\s*\[\s*([^\]]*?)\s*\]\s*:(.*)", line, re.DOTALL)
    return (folded(found[1]), found[2]) if found else None


def occurrences(mark: str, text: str) -> int:
    """How often a mark stands in a text, with any white space between its words and brackets."""
    words = re.findall(r"[<\[]|[>\]]|[^\s<>\[\]]+", folded(mark))
    return len(re.findall(r"\s*".join(map(re.escape, words)), folded(text)))


def read(layout: str, text: str) -> Read:
    """Reads the text between the template's two halves. Raises ValueError for a second header."""
    profile_mark, history_mark, bracketed = LAYOUTS[layout]
    found, seen_history = Read(), False
    target: list[str] = []
    for line in lines_of(text):
        key = key_of(line)
        name, rest = key or ("", line)
        if is_header := _is_mark(profile_mark, bracketed, line, name):
            if found.profile or found.steps or seen_history or any(map(str.strip, target)):
                raise ValueError(f"a second profile: {line!r}")
        elif is_header := _is_mark(history_mark, bracketed, line, name):
            if seen_history:
                raise ValueError(f"a second history: {line!r}")
            found.profile, seen_history = "\n".join(target), True
        elif name in ROLES:
            if not seen_history:
                raise ValueError(f"a step before the history: {line!r}")
            found.steps.append((name, [("", "")]))
        elif name and found.steps and found.steps[-1][0] == "agent":
            found.steps[-1][1].append((name, ""))
        elif name in ("thought", "action"):
            raise ValueError(f"an agent's part outside its step: {line!r}")
        else:
            rest = line
        if is_header:
            target = [rest] if bracketed else []
        elif seen_history and found.steps:
            parts = found.steps[-1][1]
            parts[-1] = (parts[-1][0], parts[-1][1] + "\n" + rest)
        else:
            target.append(rest)
    return found


def _is_mark(mark: str, bracketed: bool, line: str, name: str) -> bool:
    return name == mark if bracketed else occurrences(mark, line) > 0


def essence(content: str) -> str:
    """What must be the same in a content before and after rendering, however it was read."""
    text = re.sub("[\ud800-\udfff]", "\ufffd", content).translate(_ASCII)
    text = drop(unicodedata.normalize("NFD", text)).casefold()
    # A subscript iota is a mark in one form of a letter and a letter in the other.
    return "".join(drop(unicodedata.normalize("NFD", text)).replace("ι", "").split())
