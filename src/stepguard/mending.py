"""Messages that cannot be read: decided as `malformed` once, from then on read as plain text.

Hosts hand over the whole list every time. A message of no known shape would block its conversation
for ever; as text, nothing of it is hidden from the guard either.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stepguard.conversations.content import Recent
from stepguard.errors import TrajectoryError
from stepguard.messages import list_of, read_messages
from stepguard.messages.values import json_text

_MOST = 4096  # messages that are remembered
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # differs from copy to copy


@dataclass(frozen=True, slots=True)
class Mended:
    """What can be read in place of a list or a request's body, and whether all that was mended in
    it has been seen before."""

    messages: list[Any] | dict[str, Any]
    known: bool


class Mending:
    """Remembers which messages could not be read. Threads may share it."""

    def __init__(self) -> None:
        self._seen = Recent(_MOST)

    def mended(self, messages: object, *, learn: bool) -> Mended | None:
        """The list, or the body with its list and instructions, with every message that cannot be
        read as the result of a tool: its JSON, or, where it cannot be printed, a part without text.
        None where that is not what is wrong.

        learn: remember them.
        """
        bad: list[bytes] = []
        found: list[Any] | dict[str, Any]
        if isinstance(messages, list | tuple):
            found = [_mend(message, _MESSAGE, bad) for message in messages]
        elif isinstance(messages, Mapping):
            found = _mend_body(messages, bad)
        else:
            return None
        if not bad:
            return None
        known = all(one in self._seen for one in bad)
        for one in bad if learn else ():
            self._seen.add(one)
        return Mended(found, known)


@dataclass(frozen=True, slots=True)
class _Kind:
    """alone: what holds one such value and nothing else, to see whether it can be read. role: of
    the message that stands for it, None for instructions, which are content alone."""

    alone: Callable[[object], object]
    role: str | None


_MESSAGE = _Kind(lambda value: [value], "tool")
_STEP = _Kind(lambda value: {"contents": [value]}, "environment")
_INSTRUCTIONS = _Kind(lambda value: {"messages": [], "instructions": value}, None)


def _mend_body(body: Mapping[str, Any], bad: list[bytes]) -> dict[str, Any]:
    found = dict(body)
    for key in ("system", "instructions"):
        if found.get(key) is not None:
            found[key] = _mend(found[key], _INSTRUCTIONS, bad)
    name = list_of(body)
    given = None if name is None else body[name]
    if name is not None and isinstance(given, list | tuple):
        found[name] = (
            [_mend_round(one, bad) for one in given]
            if name == "contents"
            else [_mend(one, _MESSAGE, bad) for one in given]
        )
    return found


def _mend_round(given: object, bad: list[bytes]) -> object:
    if isinstance(given, list | tuple):
        return [_mend(step, _STEP, bad) for step in given]
    return _mend(given, _STEP, bad)


def _mend(value: object, kind: _Kind, bad: list[bytes]) -> object:
    """The value, or what stands for it; then its hash is one of `bad`."""
    try:
        read_messages(kind.alone(value))
        return value
    except TrajectoryError:
        text = _text(value)
    bad.append(hashlib.sha256((text or "").encode("utf-8", "surrogatepass")).digest())
    content = text or [{"type": "unprintable"}]
    return content if kind.role is None else {"role": kind.role, "content": content}


def _text(message: object) -> str | None:
    try:
        return _ADDRESS.sub("", json_text(message, "message"))
    except TrajectoryError:
        return None
