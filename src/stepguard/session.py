"""A trajectory that is read while it happens."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from stepguard.errors import SessionClosed
from stepguard.prompt import Step
from stepguard.reader import Reader
from stepguard.runtime import Result, Segment
from stepguard.taxonomy import Reason, Verdict
from stepguard.track import Ask, Track, forest

_log = logging.getLogger("stepguard")


class Session:
    """Made by `Guard.session`. Calls of several threads are done one after another.

    A step that was handed in is never skipped: what could not be read is owed, and the next call
    reads it first. Nothing that happens while reading is raised; it is the verdict's status.
    """

    def __init__(self, reader: Reader, profile: str = "") -> None:
        self._reader = reader
        self._state = reader.prefix
        self._track = Track.begin(reader.encoder, profile)
        self._lock = threading.Lock()
        self._closed = False

    def observe(self, step: Step) -> None:
        """Reads a step without asking: of the user, the environment, or an agent that only talks.

        Raises:
            SessionClosed, EngineClosed, ForkedProcessError: it can read no more.
            TypeError: `step` is no Step.
        """
        _check(step)
        with self._turn(step):
            if len(self._track.owed) == 0 or self._track.malformed:
                return
            owed = Segment(self._track.owed, self._state, keep=True)
            (kept,) = self._reader.run([owed])
            self._keep(kept)
            if kept.reason:
                _log.debug("step %s is owed: %s", self._track.step, kept.message)

    def push(self, step: Step) -> Verdict:
        """Reads a step and answers whether the trajectory has become unsafe.

        Meant for the agent's actions, before they run; after any other step it answers too. Raises
        what `observe` raises.
        """
        started = time.perf_counter()
        _check(step)
        with self._turn(step):
            return self._ask(started)

    def judge(self) -> Verdict:
        """The verdict where the trajectory stands, without a new step."""
        started = time.perf_counter()
        with self._turn(None):
            return self._ask(started)

    async def aobserve(self, step: Step) -> None:
        """`observe` on a thread. Cancelling the wait does not undo the step."""
        await asyncio.to_thread(self.observe, step)

    async def apush(self, step: Step) -> Verdict:
        """`push` on a thread. Cancelling the wait does not undo the step."""
        return await asyncio.to_thread(self.push, step)

    async def ajudge(self) -> Verdict:
        """`judge` on a thread."""
        return await asyncio.to_thread(self.judge)

    def close(self) -> None:
        """Lets go of what was read; waits for a call that is under way. May be called twice."""
        if self._reader.is_foreign_process():
            return
        with self._lock:
            self._closed = True
            self._state = self._reader.prefix

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _turn(self, step: Step | None) -> Iterator[None]:
        """One call at a time, in the right process, on an open session; renders the step."""
        self._reader.check_process()
        with self._lock:
            if self._closed:
                raise SessionClosed("the session", expected="an open one", got="a closed one")
            if step is not None:
                self._track = self._track.extend(self._reader.encoder, step)
            yield

    def _ask(self, started: float) -> Verdict:
        reader, ask = self._reader, Ask.at(self._track, self._reader.encoder)
        if message := ask.track.malformed:
            have = ask.track.read
            return reader.judge.unavailable(ask, Reason.MALFORMED, message, have, _since(started))
        kept, answer = reader.run(forest(self._state, [ask], reader.judge.rows, keep=True))
        self._keep(kept)
        verdict = reader.judge.verdict(ask, answer, self._track.read, _since(started))
        if verdict.reason is None:
            self._track = self._track.answered()
        return verdict

    def _keep(self, kept: Result) -> None:
        if kept.state is not None:
            self._state, self._track = kept.state, self._track.paid()


def _check(step: object) -> None:
    """None is no step either: a caller's slip must not become a verdict."""
    if not isinstance(step, Step):
        raise TypeError(f"step: expected a stepguard.Step, got {type(step).__name__}")


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
