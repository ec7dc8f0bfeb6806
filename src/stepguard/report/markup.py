"""HTML that content cannot change: elements are made by `tag` alone, and text is always escaped.

Content only ever becomes text between elements. Names of elements and attributes, and the values of
attributes, are ours: numbers, and words that are written in this room.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass

from stepguard.harmless import escaped, is_harmless

_EMPTY = {"meta"}  # never has an end tag
_STAYS = "\n\t"


@dataclass(frozen=True, slots=True)
class Markup:
    """A piece of HTML that is safe to put anywhere between two elements."""

    text: str


Child = Markup | str


def tag(name: str, /, *children: Child, **attributes: str | int | float) -> Markup:
    """An element. A trailing underscore of an attribute's name is dropped, others become hyphens.

    >>> tag("p", "a < b", class_="x").text
    '<p class="x">a &lt; b</p>'
    """
    words = [name, *(_attribute(key, value) for key, value in attributes.items())]
    start = f"<{' '.join(words)}>"
    if name in _EMPTY:
        return Markup(start)
    return Markup(f"{start}{joined(children).text}</{name}>")


def joined(children: Iterable[Child]) -> Markup:
    """One piece after the other; what is no markup is content."""
    parts = (child.text if isinstance(child, Markup) else shown(child).text for child in children)
    return Markup("".join(parts))


def clipped(text: str, most: int = 200) -> str:
    """Content that stands in a line: a name, a key, a message."""
    return text if len(text) <= most else text[: most - 1] + "…"


def shown(text: str) -> Markup:
    """Content: only shown, never followed. What could steer is an escape in a span of its own."""
    if text.isprintable():
        return Markup(html.escape(text))
    return Markup("".join(map(_shown, text)))


def _shown(sign: str) -> str:
    if sign in _STAYS or is_harmless(sign):
        return html.escape(sign)
    return f'<span class="escape">{escaped(sign)}</span>'


def _attribute(key: str, value: str | int | float) -> str:
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    if not text.isprintable():
        raise ValueError(f"{key}: expected a printable value, got {text!r}")
    return f'{key.rstrip("_").replace("_", "-")}="{html.escape(text)}"'
