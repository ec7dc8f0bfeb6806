"""For how long threads keep an event loop from going on."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from types import FrameType

MOST_S = 0.02


class Holds:
    """The longest times, in seconds of the processor, for which nothing else could run: without
    a call or a return on any thread started meanwhile, in a collection of garbage, or between two
    turns of the loop on its own thread. (Of time by the clock a busy machine may take anything.)"""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}
        self._local = threading.local()
        self._collecting = 0.0

    def __enter__(self) -> Holds:
        gc.collect()
        gc.freeze()  # as the server does: what this process has imported is not its garbage
        gc.callbacks.append(self._collected)
        threading.setprofile(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        threading.setprofile(None)  # type: ignore[arg-type]
        gc.callbacks.remove(self._collected)
        gc.unfreeze()

    async def watch(self) -> None:
        """On the loop."""
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            self._add("the loop", time.thread_time() - before)

    def _called(self, frame: FrameType, event: str, what: object) -> None:
        """Between two of these events a thread is in one call of C, or in a few lines of Python."""
        now = time.thread_time()
        where = f"before {event} in {frame.f_code.co_name}, {frame.f_code.co_filename}"
        self._add(where, now - getattr(self._local, "last", now))
        self._local.last = time.thread_time()

    def _collected(self, event: str, _: dict[str, int]) -> None:
        if event == "start":
            self._collecting = time.thread_time()
        else:
            self._add("garbage", time.thread_time() - self._collecting)

    def _add(self, what: str, seconds: float) -> None:
        if seconds > self.found.get(what, 0.0):
            self.found[what] = seconds

    @property
    def longest(self) -> tuple[float, str]:
        """Seconds, and where."""
        return max((seconds, what) for what, seconds in self.found.items())
