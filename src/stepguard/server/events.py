"""The verdicts of a session as numbered events, for readers who may lag, leave and come back."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_BEAT_S = 15.0  # a comment, so that a dead connection is noticed


@dataclass(frozen=True)
class Event:
    """One event of a session; numbers count up from 1 without gaps."""

    number: int
    kind: str
    data: dict[str, Any]

    def encode(self) -> bytes:
        """As server-sent events are written. JSON in ASCII has no line break."""
        return f"id: {self.number}\nevent: {self.kind}\ndata: {json.dumps(self.data)}\n\n".encode()


class Lost(Exception):
    """Events that a reader has not seen are no longer kept."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__(f"events {first} to {last}")
        self.first, self.last = first, last


class Events:
    """The last events of a session. Used on the event loop only."""

    def __init__(self, most: int) -> None:
        self._kept: deque[Event] = deque(maxlen=most)
        self._last = 0
        self._changed = asyncio.Event()
        self.closed = False
        self.readers = 0

    @property
    def last(self) -> int:
        """The number of the newest event, 0 where there was none."""
        return self._last

    def add(self, kind: str, make: Callable[[int], dict[str, Any]]) -> Event:
        """Appends an event; `make` gets its number and gives its data."""
        self._last += 1
        event = Event(self._last, kind, make(self._last))
        self._kept.append(event)
        self._wake()
        return event

    def after(self, number: int) -> list[Event]:
        """All events with higher numbers. Raises Lost where some of them are gone."""
        found = [event for event in self._kept if event.number > number]
        if len(found) < self._last - number:
            raise Lost(number + 1, self._last - len(found))
        return found

    def changed(self) -> Coroutine[Any, Any, Any]:
        """Waits for the first event after this call, or for the end."""
        return self._changed.wait()

    def close(self) -> None:
        """No more events will come."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        if self.closed:
            self._changed.set()


class EventStream(Response):
    """Writes events as they come until the session ends or the reader goes.

    A reader that is too slow for what is kept is told which events it has lost, and ends: it is
    never left to believe that it has seen all. `first` is written before everything else, `ended`
    awaited after.
    """

    def __init__(
        self,
        events: Events,
        after: int = 0,
        first: Event | None = None,
        ended: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        headers = {"Cache-Control": "no-store"}
        super().__init__(b"", headers=headers, media_type="text/event-stream")
        del self.headers["content-length"]  # its end is not known
        self._events, self._after, self._first, self._ended = events, after, first, ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_gone(receive))
        self._events.readers += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if self._first is not None:
                await _write(send, self._first.encode())
            await self._follow(send, gone)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._events.readers -= 1
            gone.cancel()
            if self._ended is not None:
                await self._ended()

    async def _follow(self, send: Send, gone: asyncio.Future[None]) -> None:
        while not gone.done():
            try:
                found = self._events.after(self._after)
            except Lost as lost:
                data = {"first": lost.first, "last": lost.last}
                await _write(send, f"event: lost\ndata: {json.dumps(data)}\n\n".encode())
                return
            for event in found:
                await _write(send, event.encode())
                self._after = event.number
            if not found and self._events.closed:
                await _write(send, b"event: closed\ndata: {}\n\n")
                return
            if not found:
                change = asyncio.ensure_future(self._events.changed())
                waiting = {change, gone}
                done, _ = await asyncio.wait(
                    waiting, timeout=_BEAT_S, return_when=asyncio.FIRST_COMPLETED
                )
                change.cancel()
                if not done:
                    await _write(send, b": beat\n\n")


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})
