"""Calls on threads, a bounded number at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from stepguard.server.faults import Fault

_T = TypeVar("_T")


class Due:
    """When the answer of a call is due, counted from the request and not from a free thread."""

    def __init__(self, milliseconds: float) -> None:
        self._began = time.monotonic()
        self._until = self._began + milliseconds / 1000

    @property
    def left_ms(self) -> float:
        """What is left, and never nothing: a late call still has to take over its step."""
        return max((self._until - time.monotonic()) * 1000, 0.01)

    @property
    def passed_ms(self) -> float:
        """Since the request."""
        return (time.monotonic() - self._began) * 1000


class Work:
    """Used on the event loop only. Every call has a thread at once, so that none waits for one
    behind calls with longer deadlines; the engine itself decides what is read first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._threads = ThreadPoolExecutor(most, "stepguard-call")
        self._idle = asyncio.Event()
        self._idle.set()
        self._usual_s = 0.1
        self.running = 0
        self.closing = False

    async def run(self, call: Callable[[], _T]) -> _T:
        """Runs a call to its end, also where its client has gone. Raises Fault 429 or 503."""
        self.refuse_late()
        if self.running >= self._most:
            hint = "Come back after the time in Retry-After."
            got = f"{self.running} calls under way"
            raise Fault(429, "Overloaded", "the server", got=got, hint=hint, retry_s=self._usual_s)
        self.running += 1
        self._idle.clear()
        started = time.monotonic()
        future = asyncio.get_running_loop().run_in_executor(self._threads, call)
        future.add_done_callback(lambda done: self._finished(done, started))
        return await asyncio.shield(future)

    def refuse_late(self) -> None:
        """Raises Fault 503 once the server is ending."""
        if self.closing:
            hint = "Wait until it is back, and open a new session."
            raise Fault(503, "Closing", "the server", hint=hint, retry_s=5, ends=True)

    async def drain(self, seconds: float) -> bool:
        """Takes no more calls and waits for those under way; False where they took longer."""
        self.closing = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _finished(self, done: asyncio.Future[_T], started: float) -> None:
        if not done.cancelled():
            done.exception()  # seen, also where nobody waits any more
        self._usual_s += 0.1 * (time.monotonic() - started - self._usual_s)
        self.running -= 1
        if not self.running:
            self._idle.set()
