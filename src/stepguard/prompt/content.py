"""The content of a step as text: strings as they are, everything else by one fixed rule.

Two renderings of a value that is no string are kept, because the forms differ: AgentDoG prints a
Python object as `str()` does, our own form prints JSON. What has no text (an image, an object that
cannot be printed) becomes a fixed placeholder and is counted, never dropped silently.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Text", "content_text", "value_text"]

_KIND = re.compile(r"[a-z0-9_-]{1,32}")


@dataclass(frozen=True, slots=True)
class Text:
    """One value of a step: `python` and `json` differ only where the value is no string."""

    python: str
    json: str
    unreadable: int = 0

    @property
    def empty(self) -> bool:
        return not self.python.strip()


def value_text(value: object) -> Text:
    """The value of an agent's key; None and empty containers are empty text."""
    if isinstance(value, str):
        return Text(value, value)
    if value is None or (isinstance(value, list | tuple | dict) and not value):
        return Text("", "")
    if isinstance(value, bytes | bytearray | memoryview):
        return _placeholder("bytes")
    return _printed(value, str, _json)


def content_text(value: object) -> Text:
    """The content of a user or environment step: a string, a list of parts, or JSON."""
    if isinstance(value, list | tuple) and value and all(map(_is_part, value)):
        texts = [_part(part) for part in value]
        joined = "\n".join(text.python for text in texts)
        return Text(joined, joined, sum(text.unreadable for text in texts))
    text = value_text(value)
    return Text(text.json, text.json, text.unreadable)


def _is_part(part: object) -> bool:
    return isinstance(part, str) or (isinstance(part, dict) and isinstance(part.get("type"), str))


def _part(part: object) -> Text:
    if isinstance(part, dict):
        text = part.get("text")
        return Text(text, text) if isinstance(text, str) else _placeholder(part["type"])
    return Text(str(part), str(part))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _printed(
    value: object, python: Callable[[object], str], as_json: Callable[[object], str]
) -> Text:
    # Values come from anywhere: too deep, cyclic, integers of 5,000 digits, objects whose own
    # printing fails. A step that cannot be printed must still be read as a step.
    try:
        return Text(python(value), as_json(value))
    except Exception:
        return _placeholder("object")


def _placeholder(kind: str) -> Text:
    name = kind if _KIND.fullmatch(kind) else "part"
    return Text(f"[unreadable: {name}]", f"[unreadable: {name}]", 1)
