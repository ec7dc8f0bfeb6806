"""stepguard itself: the step is kept, the question is a segment below it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from stepguard import __version__
from stepguard.bench.latency.peer import Ids, Logits, Peer, Profiled, Rounds, Setting
from stepguard.errors import StepguardError
from stepguard.runtime import Engine, Result, Segment, State, Ticket

_SECONDS = "seconds_"  # of the engine's counters, before the name of an operation
# Output rows that a timed answer has, about as many as a verdict reads. What is compared is read
# afterwards, and not timed: a page of the output matrix for each of thousands of rows.
LABELS = 8


class Ours(Profiled):
    """A model directory. Sessions share its forwards, and so does what is read beside them."""

    ways = ("together",)

    def __init__(self, setting: Setting) -> None:
        self._engine = Engine(setting.files, threads=setting.threads, **setting.options)
        self._rows, self._base = setting.rows, self._engine.root
        self._labels = setting.rows[:LABELS]
        self._sessions: list[State] = []
        self.version = f"{__version__} ({self._engine.isa})"

    def read(self, ids: Ids) -> None:
        self._base = self._kept(ids)

    def step(self, ids: Ids, question: Ids) -> tuple[float, Logits]:
        return self._timed(self._base, ids, question)

    def profile(self, ids: Ids, question: Ids) -> dict[str, float]:
        before, started = self._engine.stats(), time.perf_counter()
        _checked(self._submit(self._base, ids, question))
        elapsed = (time.perf_counter() - started) * 1000
        after = self._engine.stats()
        names = [name for name in after if name.startswith(_SECONDS)]
        spent = {
            name.removeprefix(_SECONDS): 1000 * (after[name] - before.get(name, 0.0))
            for name in names
        }
        return spent | {"all": elapsed}

    def again(self, ids: Ids) -> tuple[float, Logits]:
        return self._timed(self._engine.root, ids[:-1], ids[-1:])

    def add(self, ids: Ids) -> None:
        self._sessions.append(self._kept(ids))

    def rounds(
        self, way: str, steps: Sequence[Ids], question: Ids, count: int, long: Ids
    ) -> Rounds:
        last: list[list[Result]] = []
        started, latencies = time.perf_counter(), []
        reading = self._whole(long) if len(long) else None
        for _ in range(count):
            begun = time.perf_counter()
            sessions = zip(self._sessions, steps, strict=False)
            tickets = [self._submit(base, ids, question) for base, ids in sessions]
            last = []
            for ticket in tickets:
                last.append(_checked(ticket))
                latencies.append((time.perf_counter() - begun) * 1000)
        if reading is not None:
            _checked(reading)
        elapsed = (time.perf_counter() - started) * 1000
        answers = [self._all_rows(results, question) for results in last]
        return Rounds(elapsed, latencies, np.stack(answers))

    def _timed(self, base: State, ids: Ids, question: Ids) -> tuple[float, Logits]:
        started = time.perf_counter()
        results = _checked(self._submit(base, ids, question))
        elapsed = (time.perf_counter() - started) * 1000
        return elapsed, self._all_rows(results, question)

    def _all_rows(self, results: list[Result], question: Ids) -> Logits:
        """What the question answers in all rows that are compared."""
        kept, answer = results
        assert kept.state is not None  # it was kept
        again = self._engine.submit([Segment(question, kept.state, read=self._rows)])
        (whole,) = _checked(again)
        if whole.logits[: len(self._labels)].tobytes() != answer.logits.tobytes():
            got = "other logits of the same question"
            raise StepguardError("the engine", expected="the same bits", got=got)
        return whole.logits

    def _submit(self, base: State, ids: Ids, question: Ids) -> Ticket:
        return self._engine.submit(
            [Segment(ids, base, keep=True), Segment(question, 0, read=self._labels)]
        )

    def _whole(self, ids: Ids) -> Ticket:
        return self._engine.submit([Segment(ids, self._engine.root, read=self._labels)])

    def _kept(self, ids: Ids) -> State:
        (result,) = _checked(self._engine.submit([Segment(ids, self._engine.root, keep=True)]))
        assert result.state is not None  # it was kept
        return result.state


def _checked(ticket: Ticket) -> list[Result]:
    results = ticket.wait()
    for result in results:
        if result.reason:
            raise StepguardError("the engine", expected="an answer", got=result.message)
    return results


def make(setting: Setting) -> Peer:
    return Ours(setting)
