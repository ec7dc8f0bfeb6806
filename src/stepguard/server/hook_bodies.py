"""Events of hooks whose result is too large to be read: a part of it is, and the rest is counted.

A result that is turned away has been brought back all the same: the calls after it would be judged
as if it had never come.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise

import numpy as np

from stepguard.server.body import extent, too_large
from stepguard.server.settings import Settings

_RESULT = re.compile(rb'\s{0,64}"(tool_response|error)"\s{0,64}:')
_SHOWN = 64 << 10  # bytes of a result that are read at its beginning, and at its end
_MOST_KEYS = 256
_PIECE = 256 << 10
_COMMA, _QUOTE = ord(","), ord('"')
_LEVELS = bytes((sign in b"[{") + 255 * (sign in b"]}") for sign in range(256))  # 255 is -1


def shortened(body: bytes, settings: Settings) -> bytes:
    """An event that can be read: the same, or with its result cut. Raises Fault 413 where something
    else of it is too large."""
    if len(body) <= settings.body_bytes:
        depth, values = extent(body)
        if depth <= settings.depth and values <= settings.values:
            return body
    found = cut(body)
    if len(found) > settings.body_bytes:
        raise too_large(settings.body_bytes)
    return found


def cut(body: bytes) -> bytes:
    """A JSON object with the beginning and the end of its result, and between them a part without
    text. The same where it has no result, or is none. In linear time on any input."""
    pieces, start = [], 0
    for begin, end in _members(body):
        match = _RESULT.match(body, begin, end)
        if match is not None and end - match.end() > 2 * _SHOWN:
            pieces += [body[start : match.end()], _parts(match[1], body[match.end() : end])]
            start = end
    return b"".join([*pieces, body[start:]])


def _parts(name: bytes, value: bytes) -> bytes:
    begin, end = (part.decode("utf-8", "replace") for part in (value[:_SHOWN], value[-_SHOWN:]))
    begin = f"error: {begin}" if name == b"error" else begin
    parts = [{"type": "text", "text": begin}, {"type": "cut"}, {"type": "text", "text": end}]
    return json.dumps(parts).encode()


def _members(body: bytes) -> list[tuple[int, int]]:
    """Where the members of a JSON object begin and end; none where there are too many."""
    borders: list[int] = []
    start, depth, inside = 0, 0, 0
    while start < len(body):
        piece = _piece(body, start)
        # What is escaped makes room for blanks: places stay what they are.
        plain = piece.replace(rb"\\", b"  ").replace(rb"\"", b"  ")
        signs = np.frombuffer(plain, np.uint8)
        quotes = np.bitwise_xor.accumulate((signs == _QUOTE).view(np.uint8)) ^ inside
        outside = quotes == 0
        levels = np.frombuffer(plain.translate(_LEVELS), np.int8)
        depths = np.cumsum(levels * outside, dtype=np.int32) + depth
        begins = (depths == 1) & ((signs == _COMMA) | ((levels == 1) & (depths - levels == 0)))
        found = np.flatnonzero(outside & (begins | ((depths == 0) & (levels == -1))))
        borders += (found[: _MOST_KEYS + 1] + start).tolist()
        if len(borders) > _MOST_KEYS:
            return []
        start, depth, inside = start + len(piece), int(depths[-1]), int(quotes[-1])
    return [(begin + 1, end) for begin, end in pairwise(borders)]


def _piece(body: bytes, start: int) -> bytes:
    """What is looked at in one go, short enough that nobody else waits for it. It never ends behind
    a backslash whose sign comes next."""
    piece = body[start : start + _PIECE]
    open_end = (len(piece) - len(piece.rstrip(b"\\"))) % 2
    return body[start : start + _PIECE + 1] if open_end else piece
