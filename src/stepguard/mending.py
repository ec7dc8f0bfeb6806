"""Messages that cannot be read: decided as `malformed` once, from then on read as plain text.

Hosts hand over the whole list every time. A message of no known shape would block its conversation
for ever; as text, nothing of it is hidden from the guard either.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from stepguard.conversations.content import Recent
from stepguard.errors import TrajectoryError
from stepguard.messages import read_messages
from stepguard.messages.values import json_text

_MOST = 4096  # messages that are remembered
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # differs from copy to copy


@dataclass(frozen=True, slots=True)
class Mended:
    """A list that can be read, and whether all that was mended in it has been seen before."""

    messages: list[Any]
    known: bool


class Mending:
    """Remembers which messages could not be read. Threads may share it."""

    def __init__(self) -> None:
        self._seen = Recent(_MOST)

    def mended(self, messages: object, *, learn: bool) -> Mended | None:
        """The list with every message that cannot be read as the result of a tool: its JSON, or,
        where it cannot be printed, a part without text. None where that is not what is wrong.

        learn: remember them.
        """
        if not isinstance(messages, list | tuple):
            return None
        found: list[Any] = []
        bad: list[bytes] = []
        for message in messages:
            if _readable(message):
                found.append(message)
                continue
            text = _text(message)
            bad.append(hashlib.sha256((text or "").encode("utf-8", "surrogatepass")).digest())
            found.append({"role": "tool", "content": text or [{"type": "unprintable"}]})
        if not bad:
            return None
        known = all(one in self._seen for one in bad)
        for one in bad if learn else ():
            self._seen.add(one)
        return Mended(found, known)


def _readable(message: object) -> bool:
    try:
        read_messages([message])
    except TrajectoryError:
        return False
    return True


def _text(message: object) -> str | None:
    try:
        return _ADDRESS.sub("", json_text(message, "message"))
    except TrajectoryError:
        return None
