"""Bodies of requests: bounded in size, time and depth, then read field by field."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
from starlette.requests import ClientDisconnect, Request

from stepguard.server.faults import Fault
from stepguard.server.settings import Settings

_NO_SIGNS = bytes(set(range(256)) - set(b'[]{},:"'))
_QUOTES = bytes(sign == ord('"') for sign in range(256))
_NEW = bytes(sign in b"[{,:" for sign in range(256))
_LEVELS = bytes((sign in b"[{") + 255 * (sign in b"]}") for sign in range(256))  # 255 is -1
# Longer bodies are read on a thread: several steps of some milliseconds each, which would hold the
# event loop all together.
_INLINE = 16 << 10
_MISSING: Any = object()
_T = TypeVar("_T")


async def read_json(request: Request, settings: Settings) -> dict[str, Any]:
    """The JSON object of a request's body. Raises Fault: 400, 408, 413 or 415."""
    return await read_as(dict, request, settings)


async def read_as(
    make: Callable[[dict[str, Any]], _T],
    request: Request,
    settings: Settings,
    *,
    most: int | None = None,
    shorten: Callable[[bytes, Settings], bytes] = lambda body, _: body,
) -> _T:
    """What is made of the JSON object of a request's body, on a thread where it may take long.

    most: its longest body, where that is not the usual one. shorten: makes one of the usual length
    of it. Raises what `read_json`, `shorten` and `make` raise.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        got = kind[:60] or "none"
        raise Fault(415, "WrongContentType", "Content-Type", expected="application/json", got=got)
    try:
        body = await asyncio.wait_for(_read(request, most or settings.body_bytes), settings.read_s)
    except TimeoutError:
        expected = f"all of it within {settings.read_s:g} s"
        raise Fault(408, "TooSlow", "the body", expected=expected, ends=True) from None
    except ClientDisconnect:
        raise Fault(400, "Malformed", "the body", got="the end of the connection") from None

    def read() -> _T:
        return make(parse(shorten(body, settings), settings.depth, settings.values))

    return read() if len(body) <= _INLINE else await asyncio.to_thread(read)


async def _read(request: Request, most: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise too_large(most)
        parts.append(part)
    return b"".join(parts)


def too_large(most: int) -> Fault:
    """The answer to a body of more than `most` bytes."""
    hint = "Send less, or start the server with a higher --body."
    expected = f"at most {most} bytes"
    return Fault(413, "TooLarge", "the body", expected=expected, got="more", hint=hint, ends=True)


def parse(body: bytes, depth: int, values: int) -> dict[str, Any]:
    """A JSON object in UTF-8, of at most so many nested brackets and values. Raises Fault 400 or
    413."""
    found, count = extent(body)
    if found > depth:
        expected = f"at most {depth} nested brackets"
        raise Fault(400, "TooDeep", "the body", expected=expected, got=str(found))
    if count > values:
        expected, hint = f"at most {values} values", "Send what tools say as text."
        raise Fault(413, "TooManyValues", "the body", expected=expected, got=str(count), hint=hint)
    try:
        value = json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _malformed("JSON", str(error)[:200]) from None
    if not isinstance(value, dict):
        raise _malformed("a JSON object", type(value).__name__)
    return value


def extent(body: bytes) -> tuple[int, int]:
    """How many brackets of a JSON text are open at once, at most, and how many values it has: at
    least all of them, the empty lists and objects twice. In linear time on any input."""
    # Backslashes stand in strings only: in pairs, or before the sign that they escape.
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _NO_SIGNS)
    if not plain:
        return 0, 0
    tables = (_QUOTES, _NEW, _LEVELS)
    quotes, new, level = (np.frombuffer(plain.translate(one), np.int8) for one in tables)
    outside = np.bitwise_xor.accumulate(quotes) == 0
    depth = int(np.cumsum(level * outside, dtype=np.int32).max())
    return max(0, depth), int(np.count_nonzero(new & outside))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _malformed(expected: str, got: str) -> Fault:
    return Fault(400, "Malformed", "the body", expected=expected, got=got)


class Fields:
    """The keys of a JSON object, taken one by one. Every mistake is a Fault 400 with its place."""

    def __init__(self, value: dict[str, Any], where: str = "body") -> None:
        self._left, self._where = dict(value), where

    def take(self, name: str, default: Any = _MISSING) -> Any:
        """The value of a key, of any kind."""
        value = self._left.pop(name, default)
        if value is _MISSING:
            raise self._fault(name, "a value", "no such key")
        return value

    def text(self, name: str, default: str = _MISSING) -> str:
        """A string."""
        value = self.take(name, default)
        if not isinstance(value, str):
            raise self._fault(name, "a string", type(value).__name__)
        return value

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """One of some strings."""
        value = self.take(name, default)
        if value not in choices:
            raise self._fault(name, " or ".join(map(repr, choices)), repr(value)[:60])
        return str(value)

    def flag(self, name: str, default: bool = _MISSING) -> bool:
        """true or false."""
        value = self.take(name, default)
        if not isinstance(value, bool):
            raise self._fault(name, "true or false", type(value).__name__)
        return value

    def whole(self, name: str, default: int = _MISSING, *, least: int = 0) -> int:
        """A whole number."""
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self._fault(name, f"a whole number from {least} up", repr(value)[:60])
        return value

    def milliseconds(self, name: str, default: float, most: float) -> float:
        """A time of more than 0 and at most `most`; null is the default."""
        value = self.take(name, None)
        if value is None:
            return default
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value <= most:  # also for a NaN, and for what no float can hold
            raise self._fault(name, f"more than 0, at most {most:g}", repr(value)[:60])
        return float(value)

    def listed(self, name: str) -> list[Any]:
        """A list of at least one value."""
        value = self.take(name)
        if not isinstance(value, list) or not value:
            raise self._fault(name, "a list of at least one value", type(value).__name__)
        return value

    def done(self) -> None:
        """Raises where keys are left that nobody asked for."""
        if self._left:
            names = ", ".join(repr(name)[:40] for name in list(self._left)[:5])
            raise self._fault("", "no further keys", names)

    def _fault(self, name: str, expected: str, got: str) -> Fault:
        where = f"{self._where}.{name}" if name else self._where
        return Fault(400, "Malformed", where, expected=expected, got=got)
