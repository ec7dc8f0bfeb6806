"""Work that nobody waits for, on threads of its own."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

from stepguard.errors import EngineClosed, check_process
from stepguard.runtime import close_engines
from stepguard.taxonomy import Reason

_log = logging.getLogger("stepguard")

# A trajectory that stays unsafe asks for a diagnosis at every action.
_MOST_WAITING = 64
_CLOSED = "the guard was closed"

_T = TypeVar("_T")
_Tasks = SimpleQueue[Callable[[], None] | None]


class Answer(Future[_T]):
    """A future that says so where it can never be done: in a child of fork()."""

    def __init__(self) -> None:
        super().__init__()
        self._process = os.getpid()

    def result(self, timeout: float | None = None) -> _T:
        """The answer. Raises ForkedProcessError."""
        self._check_process()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What was raised instead. Raises ForkedProcessError."""
        self._check_process()
        return super().exception(timeout)

    def add_done_callback(self, fn: Callable[[Future[_T]], object]) -> None:
        """Calls `fn` when the answer is there; awaiting does. Raises ForkedProcessError."""
        self._check_process()
        super().add_done_callback(fn)

    def _check_process(self) -> None:
        # Before anything else: its lock may have been held when the process was forked.
        check_process(self._process, "the answer that a verdict promised")


class Background:
    """Its threads are made by the first jobs, which they take in their order.

    When the program ends, so do its jobs, as if the guard was closed: nobody would see what comes
    of them.
    """

    def __init__(self, name: str = "stepguard-background", threads: int = 1) -> None:
        self._name, self._most = name, threads
        self._tasks: _Tasks = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False
        self._waiting = 0
        self._process = os.getpid()
        weakref.finalize(self, _let_go, self._tasks, threads).atexit = False
        _open.add(self)

    @property
    def closed(self) -> bool:
        """Whether it takes no more jobs."""
        return self._closed

    def submit(self, job: Callable[[], _T], instead: Callable[[Reason, str], _T]) -> Future[_T]:
        """Queues a job; what it raises, and what could not be begun, becomes what `instead` makes
        of a reason and its text."""
        future = Answer[_T]()
        if refusal := self._queue(partial(self._run, future, job, instead)):
            future.set_result(instead(*refusal))
        return future

    def close(self) -> None:
        """Takes no more jobs; those that wait are not begun."""
        with self._lock:
            self._closed = True
        _let_go(self._tasks, self._most)

    def join(self) -> None:
        """Waits for the threads, after `close`."""
        for thread in self._threads:
            thread.join()

    def is_foreign_process(self) -> bool:
        """True in a child of fork(): it has no threads there."""
        return os.getpid() != self._process

    def _queue(self, task: Callable[[], None]) -> tuple[Reason, str] | None:
        """Queues a task; else why not."""
        with self._lock:
            if self._closed:
                return Reason.CLOSING, _CLOSED
            if self._waiting >= _MOST_WAITING:
                return Reason.DEADLINE, f"{_MOST_WAITING} jobs waited before it"
            if self._waiting >= len(self._threads) < self._most:
                name = f"{self._name}_{len(self._threads)}"
                thread = threading.Thread(target=_work, args=(self._tasks,), name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the system has no more, or the program ends
                    if not self._threads:
                        return Reason.INTERNAL, str(error)
                else:
                    self._threads.append(thread)
            self._waiting += 1
            self._tasks.put(task)
            return None

    def _run(
        self, future: Future[_T], job: Callable[[], _T], instead: Callable[[Reason, str], _T]
    ) -> None:
        try:
            if future.set_running_or_notify_cancel():
                future.set_result(self._result(job, instead))
        except BaseException as error:
            future.set_exception(error)
        finally:
            with self._lock:
                self._waiting -= 1

    def _result(self, job: Callable[[], _T], instead: Callable[[Reason, str], _T]) -> _T:
        try:
            return instead(Reason.CLOSING, _CLOSED) if self._closed else job()
        except EngineClosed as error:
            return instead(Reason.CLOSING, str(error))
        except Exception as error:  # nobody is there to catch it
            _log.exception("a job of the background failed")
            return instead(Reason.INTERNAL, f"{type(error).__name__}: {error}")


_open: weakref.WeakSet[Background] = weakref.WeakSet()


@atexit.register
def _end() -> None:
    """No thread may be at work when the interpreter is taken down."""
    ours = [one for one in list(_open) if not one.is_foreign_process()]
    for one in ours:
        one.close()
    close_engines()
    for one in ours:
        one.join()


def _work(tasks: _Tasks) -> None:
    for task in iter(tasks.get, None):
        task()
        del task  # what it holds must not stay until the next one comes


def _let_go(tasks: _Tasks, threads: int) -> None:
    for _ in range(threads):
        tasks.put(None)
