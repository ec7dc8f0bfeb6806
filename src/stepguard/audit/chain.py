"""Lines that carry the hash of the line before them.

A line is a JSON object in ASCII. `seq` counts lines from 0, `prev` is the sha256 of the bytes of
the line before, without its line break; that of the first line is START. What a crash left of a
line is a line too: the next one carries its hash, and says that it was cut off.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

START = "0" * 64
VERSION = 1
TORN = "torn"
_MOST = 1 << 63
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Link:
    """What the chain needs of a line. torn: it says that the line before it was cut off."""

    seq: int
    prev: str
    torn: bool


def is_hash(text: str) -> bool:
    """Whether a text is a sha256 in small hexadecimal digits."""
    return _HASH.fullmatch(text) is not None


def digest(line: bytes) -> str:
    """The hash that the next line carries of this one."""
    return hashlib.sha256(line).hexdigest()


def encode(seq: int, prev: str, body: Mapping[str, Any]) -> bytes:
    """A line, without its line break. Raises ValueError for what JSON cannot say."""
    value = {"v": VERSION, "seq": seq, "prev": prev, **body}
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def parse(line: bytes) -> Link | None:
    """The link of a line; None for what is no line of ours."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    seq, prev = value.get("seq"), value.get("prev")
    if (
        type(seq) is not int
        or not 0 <= seq < _MOST
        or not isinstance(prev, str)
        or not is_hash(prev)
    ):
        return None
    return Link(seq, prev, value.get("kind") == "note" and value.get("note") == TORN)
