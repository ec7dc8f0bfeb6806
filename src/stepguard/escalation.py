"""A second, slower look: where a verdict is not safe, the guard writes its answer out.

It is written at once where that fits into the time of the call, and is then the verdict; else the
verdict comes now, and what was written comes as a future.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from itertools import islice, repeat

from stepguard.background import Background
from stepguard.call import Call
from stepguard.errors import EngineClosed
from stepguard.forest import Forest, Parent
from stepguard.judge import Cost, Judge
from stepguard.prompt import Encoder
from stepguard.reader import LateError, Reader, Written
from stepguard.shelf import Shelf
from stepguard.taxonomy import Reason, Status, Verdict
from stepguard.track import Ask, Track

_log = logging.getLogger("stepguard")
_WORKERS = 4
# Futures that a session remembers; the oldest are forgotten first.
_REMEMBERED = 32
_LATE = "the time given to the call ran out"


class Pace:
    """How long a written answer takes, question included: a running mean of what was measured."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = math.inf

    @property
    def seconds(self) -> float:
        """Infinite before the first one."""
        return self._seconds

    def add(self, seconds: float) -> None:
        with self._lock:
            known = math.isfinite(self._seconds)
            self._seconds = 0.7 * self._seconds + 0.3 * seconds if known else seconds


class Escalation:
    """Shared by the sessions of a guard. `encoder` and `judge` are those of the written answer."""

    def __init__(self, reader: Reader, written: Written, encoder: Encoder, judge: Judge) -> None:
        self._reader, self._written = reader, written
        self._encoder, self._judge = encoder, judge
        self._background = Background("stepguard-rationale", _WORKERS)
        self.pace = Pace()

    def looks(self) -> Looks:
        """Those of a new session."""
        return Looks(self)

    def close(self) -> None:
        """No more futures; what is under way ends when the engine is closed."""
        self._background.close()

    def fits(self, call: Call) -> bool:
        """Whether an answer can be written within the time of a call."""
        return call.until is None or time.monotonic() + self.pace.seconds <= call.until

    def later(self, track: Track, shelf: Shelf, call: Call) -> Future[Verdict]:
        """What `prepare` gives, written on a thread.

        On a shelf of its own, from which States can be taken back as long as it waits.
        """
        ask, have, apart = Ask.at(track, self._encoder), shelf.read(track), shelf.copy()
        apart.keep_only(set(track.all))

        def job() -> Verdict:
            try:
                return self.prepare([track], apart, call, None)()[0]
            finally:
                apart.keep_only(set())

        def instead(reason: Reason, message: str) -> Verdict:
            apart.keep_only(set())
            return self._judge.unavailable(ask, reason, message, have, Cost(0, call.passed_ms))

        return self._background.submit(job, instead)

    def prepare(
        self, tracks: Sequence[Track], shelf: Shelf, call: Call, until: float | None
    ) -> Callable[[], list[Verdict]]:
        """A task that writes the answers at the ends of tracks that were read, and judges them.

        It holds the States that it starts from, so that the session may go on meanwhile. Each
        verdict tells the cost of them all, as those of one turn do.
        """
        forest = Forest(self._judge.rows, writes=True)
        asks, asked = [Ask.at(track, self._encoder) for track in tracks], list[list[int]]()
        with ExitStack() as stack:
            for track in tracks:
                asked.append([self._ask(forest, place, shelf, stack) for place in track.all])
        have = [shelf.read(track) for track in tracks]

        def instead(reason: Reason, message: str, tokens: int) -> list[Verdict]:
            cost = Cost(tokens, call.passed_ms)
            unavailable = self._judge.unavailable
            return [
                unavailable(ask, reason, message, read, cost)
                for ask, read in zip(asks, have, strict=True)
            ]

        def task() -> list[Verdict]:
            began = time.monotonic()
            tokens = 0
            try:
                results = self._reader.run(forest.segments, until)
                tokens = forest.tokens(results)
                found = [results[index] for indices in asked for index in indices]
                del results
                outcomes = self._written.finish(found, self._judge, until)
            except LateError as late:
                late.ticket.cancel()
                return instead(Reason.DEADLINE, _LATE, tokens)
            except EngineClosed as error:
                return instead(Reason.CLOSING, str(error), tokens)
            tokens += sum(outcome.tokens for outcome in outcomes)
            told = iter(outcomes)
            groups = [list(islice(told, len(indices))) for indices in asked]
            cost = Cost(tokens, call.passed_ms)
            verdicts = list(map(self._judge.read, asks, groups, have, repeat(cost)))
            if all(verdict.reason is None for verdict in verdicts):
                self.pace.add(time.monotonic() - began)
            return verdicts

        return task

    def _ask(self, forest: Forest, place: Track, shelf: Shelf, stack: ExitStack) -> int:
        """A question at a place; its index. The stack holds the State that it starts from."""
        state, owed = stack.enter_context(shelf.nearest(place))
        parent: Parent = state if len(owed) == 0 else forest.read(state, owed)
        return forest.ask(parent, Ask.at(place, self._encoder).question)


class Looks:
    """The second looks of one session. Not thread-safe: the session lets one call in at a time."""

    def __init__(self, escalation: Escalation) -> None:
        self._escalation = escalation
        self._later: deque[tuple[Verdict, Future[Verdict]]] = deque(maxlen=_REMEMBERED)

    def again(self) -> Looks:
        """Those of a fork."""
        return Looks(self._escalation)

    def after(
        self,
        verdicts: Sequence[Verdict],
        tracks: Sequence[Track],
        shelf: Shelf,
        call: Call,
        *,
        doubt: bool = False,
    ) -> list[Verdict]:
        """The verdicts that hold: the written ones where they are wanted and there in time.

        doubt: safe ones are looked at again too.
        """
        again = {Status.UNSAFE, Status.UNSURE, *([Status.SAFE] if doubt else [])}
        now = []
        for index, (verdict, track) in enumerate(zip(verdicts, tracks, strict=True)):
            if verdict.status not in again:
                continue
            if self._escalation.fits(call):
                now.append(index)
            else:
                self._later.append((verdict, self._escalation.later(track, shelf, call)))
        answers = list(verdicts)
        if now:
            # In one forest: what they write shares every forward.
            asked = [tracks[index] for index in now]
            written = self._escalation.prepare(asked, shelf, call, call.until)()
            for index, second in zip(now, written, strict=True):
                answers[index] = _of_both(verdicts[index], second, call)
        return answers

    def future(self, verdict: Verdict) -> Future[Verdict] | None:
        """What is still being written about a verdict, or was; None where nothing is.

        Copies are equal: a verdict gets the future of its diagnosis later, calls have their own.
        """
        return next((future for known, future in self._later if known == verdict), None)


def _of_both(first: Verdict, written: Verdict, call: Call) -> Verdict:
    """The written verdict; the first one where nothing could be written."""
    if written.reason is not None:
        _log.debug("no rationale at step %s: %s", first.step, written.message)
        return dataclasses.replace(first, latency_ms=call.passed_ms)
    return dataclasses.replace(written, tokens_read=first.tokens_read + written.tokens_read)
