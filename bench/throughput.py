"""Step verdicts of several sessions at once: how many a second, and how long each is waited for.

Every engine has the same contexts and gets the same steps, in the way of serving several sessions
that is fastest for it here. Logits are compared before a time counts; ours must be the same bits in
however large a company.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from stepguard.bench.latency.measure import OURS, Case, check
from stepguard.bench.latency.peer import Ids, Logits, Rounds
from stepguard.bench.latency.remote import LostPeer
from stepguard.errors import StepguardError

Progress = Callable[[int, int], None]
LeaveOut = Callable[[str, LostPeer], None]
_NOTHING: Ids = np.empty(0, np.int32)
PERCENTILES = (50, 95, 99)


class Engine(Protocol):
    """What `Remote` offers."""

    name: str
    ways: list[str]

    def add(self, ids: Ids) -> None: ...
    def rounds(
        self, way: str, steps: Sequence[Ids], question: Ids, count: int, long: Ids
    ) -> Rounds: ...


@dataclass(frozen=True)
class Company(Case):
    """So many sessions at once; `times` are milliseconds per verdict, round by round.

    beside: tokens of a long text that was read meanwhile. latencies: milliseconds from the begin of
    its round to each verdict. ways: how each engine served the sessions.
    """

    sessions: int = 1
    beside: int = 0
    latencies: dict[str, list[float]] = field(default_factory=dict)
    ways: dict[str, str] = field(default_factory=dict)

    def per_second(self, name: str) -> float:
        """Verdicts a second."""
        return 1000 / self.median(name)

    def latency(self, name: str, percent: int) -> float:
        """Milliseconds below which so many percent of the verdicts came."""
        return float(np.percentile(self.latencies[name], percent))

    def forget(self, name: str) -> None:
        """Drops all of one engine."""
        kept: tuple[dict[str, Any], ...] = (self.times, self.cosines, self.latencies, self.ways)
        for by_engine in kept:
            by_engine.pop(name, None)

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        more = {
            "sessions": self.sessions,
            "beside": self.beside,
            "verdicts_per_second": {name: self.per_second(name) for name in self.times},
            "latency_ms": {
                name: {f"p{percent}": self.latency(name, percent) for percent in PERCENTILES}
                for name in self.times
            },
            "ways": self.ways,
        }
        return super().to_dict() | more


@dataclass(frozen=True)
class Texts:
    """What is read. contexts, steps: int32 [n] of each session. long: beside them, may be empty."""

    contexts: list[Ids]
    steps: list[Ids]
    question: Ids
    long: Ids


def measure_throughput(
    engines: Sequence[Engine],
    texts: Texts,
    *,
    sessions: Sequence[int],
    rounds: int,
    leave_out: LeaveOut,
    progress: Progress | None = None,
) -> list[Company]:
    """Times `rounds` rounds of each number of sessions, the engines in turns; ours is the first.

    With a long text, times as many rounds again while it is read; then a time is that of all until
    both are done, by the number of verdicts. A peer that fails goes to `leave_out`, and the others
    go on; no case holds anything of it.

    Raises:
        StepguardError: an engine gave other logits than ours, or ours other bits than before.
        LostPeer: ours failed.
    """
    most, extra = max(sessions), bool(len(texts.long))
    total = most + len(sessions) * (1 + rounds + extra)
    done = 0
    there = _There(list(engines), leave_out)

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    for context in texts.contexts[:most]:
        there.each(partial(_add, context))
        tick()
    alone: Logits = np.empty((0, 0), np.float32)
    cases: list[Company] = []
    for count in sessions:
        case = Company(_name(count), len(texts.steps[0]), sessions=count)
        answers = _warm(there, case, texts)
        alone = _same_bits(case.name, alone, answers)
        tick()
        _in_turns(there, case, texts, rounds, tick)
        cases.append(case)
        if extra:
            cases.append(_beside(there, case, texts, rounds))
            tick()
    for case in cases:
        for name in there.lost:
            case.forget(name)
    return cases


@dataclass
class _There:
    """The engines that are measured still, and the names of those that were lost."""

    engines: list[Engine]
    leave_out: LeaveOut
    lost: list[str] = field(default_factory=list)

    def each(self, act: Callable[[Engine], None]) -> None:
        """One after the other."""
        for engine in list(self.engines):
            try:
                act(engine)
            except LostPeer as error:
                if engine.name == OURS:
                    raise
                self.engines.remove(engine)
                self.lost.append(engine.name)
                self.leave_out(engine.name, error)


def _add(context: Ids, engine: Engine) -> None:
    engine.add(context)


def _name(count: int) -> str:
    return "1 session" if count == 1 else f"{count} sessions"


def _warm(there: _There, case: Company, texts: Texts) -> Logits:
    """One round of every engine in each of its ways; keeps the fastest. Returns our logits."""
    ours: Logits = np.empty((0, 0), np.float32)

    def one(engine: Engine) -> None:
        nonlocal ours
        found: dict[str, Rounds] = {}
        for way in engine.ways:
            found[way] = _round(engine, way, case, texts)
            if engine.name == OURS:
                ours = found[way].logits
                continue
            each = zip(ours, found[way].logits, strict=True)
            cosines = [check(case.name, engine.name, mine, theirs) for mine, theirs in each]
            least = min(cosines)
            case.cosines[engine.name] = min(case.cosines.get(engine.name, least), least)
        case.ways[engine.name] = min(found, key=lambda way: found[way].elapsed)

    there.each(one)
    return ours


def _round(engine: Engine, way: str, case: Company, texts: Texts) -> Rounds:
    return engine.rounds(way, texts.steps[: case.sessions], texts.question, 1, _NOTHING)


def _same_bits(name: str, before: Logits, now: Logits) -> Logits:
    """The longer of both, once the rows that they share are found the same."""
    shared = min(len(before), len(now))
    if shared and before[:shared].tobytes() != now[:shared].tobytes():
        raise StepguardError(
            name,
            expected="the same bits beside other sessions",
            got="different logits",
            fix="This is a fault of stepguard: please report it.",
        )
    return now if len(now) > len(before) else before


def _in_turns(
    there: _There, case: Company, texts: Texts, rounds: int, tick: Callable[[], None]
) -> None:
    def one(engine: Engine) -> None:
        _keep(case, engine.name, _round(engine, case.ways[engine.name], case, texts), 1)

    for _ in range(rounds):
        there.each(one)
        tick()


def _beside(there: _There, alone: Company, texts: Texts, rounds: int) -> Company:
    case = Company(
        f"{alone.name} beside a read of {len(texts.long):,}",
        alone.tokens,
        sessions=alone.sessions,
        beside=len(texts.long),
        ways=alone.ways,
        cosines=alone.cosines,
    )
    steps = texts.steps[: case.sessions]

    def one(engine: Engine) -> None:
        way = case.ways[engine.name]
        done = engine.rounds(way, steps, texts.question, rounds, texts.long)
        _keep(case, engine.name, done, rounds)

    there.each(one)
    return case


def _keep(case: Company, name: str, done: Rounds, rounds: int) -> None:
    case.times.setdefault(name, []).append(done.elapsed / (rounds * case.sessions))
    case.latencies.setdefault(name, []).extend(done.latencies)
