"""Who comes first is served first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TypeVar

_T = TypeVar("_T")


class Place:
    """A place in a line. Give it back with `Line.leave`, whether its turn came or not."""

    def __init__(self) -> None:
        self._turn = threading.Event()
        self._then: Callable[[], None] | None = None

    def wait(self, seconds: float) -> bool:
        """Whether its turn comes within that time; below 0 is no limit."""
        return self._turn.wait(None if seconds < 0 else seconds)

    def call(self) -> None:
        """Its turn has come, or somebody waits behind it whose turn that holds up."""
        self._turn.set()
        if self._then is not None:
            self._then()

    def when_called(self, then: Callable[[], None]) -> None:
        """then: is called when its turn has come, perhaps more than once, on any thread."""
        self._then = then
        if self._turn.is_set():
            then()


class Line:
    """A lock that keeps the order in which places were taken. A place may be taken on one thread
    and waited for on another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: deque[Place] = deque()

    def join(self) -> Place:
        """The last place. Nobody is called: see `call`."""
        place = Place()
        with self._lock:
            self._places.append(place)
        return place

    def call(self) -> None:
        """Calls the first one. Who is called may do its work here: hold no lock."""
        with self._lock:
            first = self._places[0] if self._places else None
        if first is not None:
            first.call()

    def leave(self, place: Place) -> None:
        """Lets the next one come. Hold no lock."""
        with self._lock:
            self._places.remove(place)
        self.call()

    def __len__(self) -> int:
        return len(self._places)


def at_turn(place: Place, job: Callable[[], _T], pool: Callable[[], Executor]) -> Future[_T]:
    """Does a job on a thread once the turn of its place has come; none is held until then.

    pool: is asked for when it has come, and whenever somebody comes behind it; the first one with a
    free thread does the job. Where one takes no more, the job is done at once. It is done even
    where the future was cancelled: it has to give the place back.
    """
    future: Future[_T] = Future()
    once, asked = threading.Lock(), list[Executor]()

    def run() -> None:
        if not once.acquire(blocking=False):
            return
        wanted = future.set_running_or_notify_cancel()
        try:
            found = job()
        except BaseException as error:
            if wanted:
                future.set_exception(error)
            return
        if wanted:
            future.set_result(found)

    def begin() -> None:
        if once.locked() or (found := pool()) in asked:
            return
        asked.append(found)
        try:
            found.submit(run)
        except RuntimeError:  # it was closed, or there are no more threads
            run()

    place.when_called(begin)
    return future
