"""The measurement: the same tokens for every engine, in turns, checked before they are timed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from stepguard.bench.latency.peer import Ids, Logits
from stepguard.errors import StepguardError

OURS = "stepguard"
# Logits of other engines come from other roundings: activations in 8 bits, sums in another order.
_LEAST_COSINE = 0.999
Progress = Callable[[int, int], None]


class Engine(Protocol):
    """What `Remote` offers."""

    name: str

    def read(self, ids: Ids) -> None: ...
    def step(self, ids: Ids, question: Ids) -> tuple[float, Logits]: ...
    def again(self, ids: Ids) -> tuple[float, Logits]: ...


@dataclass(frozen=True)
class Case:
    """One thing that is timed: milliseconds of every repeat, by engine.

    usual: the others read everything again, while we make a step of it. floor: the least
    milliseconds that ours could take on this machine, by operation; None where that is not known.
    profile: what these took in one more run, and "all" of it; None where none was made.
    """

    name: str
    tokens: int
    times: dict[str, list[float]] = field(default_factory=dict)
    cosines: dict[str, float] = field(default_factory=dict)
    usual: bool = False
    floor: dict[str, float] | None = None
    profile: dict[str, float] | None = None

    @property
    def floor_ms(self) -> float | None:
        """All of the floor."""
        return None if self.floor is None else sum(self.floor.values())

    @property
    def share(self) -> float | None:
        """How much of the floor's speed is reached."""
        least = self.floor_ms
        return None if least is None else least / self.median(OURS)

    def median(self, name: str) -> float:
        """Milliseconds."""
        return statistics.median(self.times[name])

    @property
    def peers(self) -> list[str]:
        """All but ours."""
        return [name for name in self.times if name != OURS]

    @property
    def best_peer(self) -> str | None:
        """The fastest of them."""
        return min(self.peers, key=self.median, default=None)

    @property
    def ratios(self) -> list[float]:
        """How many times longer the best peer took, repeat by repeat."""
        best = self.best_peer
        if best is None:
            return []
        return [
            theirs / ours for theirs, ours in zip(self.times[best], self.times[OURS], strict=False)
        ]

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        best = self.best_peer
        return {
            "name": self.name,
            "tokens": self.tokens,
            "ours_ms": self.median(OURS),
            "peers": {name: self.median(name) for name in self.peers},
            "best_peer": best,
            "ratio": None if best is None else self.median(best) / self.median(OURS),
            "ratios": self.ratios,
            "floor_ms": self.floor_ms,
            "share_of_floor": self.share,
            "floor_parts_ms": self.floor,
            "profile_ms": self.profile,
            "cosines": self.cosines,
            "times_ms": self.times,
        }


def measure(
    engines: Sequence[Engine],
    ids: Ids,
    question: Ids,
    *,
    context: int,
    new: Sequence[int],
    prefill: Sequence[int],
    repeats: int,
    usual: int = 0,
    progress: Progress | None = None,
) -> list[Case]:
    """Times step verdicts and a prefill; the first engine is ours, the others are the peers.

    ids: int32 [n], n at least context + max(new), and max(prefill). question: int32 [q]. new:
    tokens of the steps. prefill: tokens that are read from nothing. usual: how often the peers read
    everything again for each of the steps, 0 for never. Every case is run once to warm up, and the
    logits of that run are compared; where everything is read again, which takes long, that run
    counts.

    Raises:
        StepguardError: an engine gave other logits than ours.
    """
    usual = usual if len(engines) > 1 else 0
    total = (len(new) + len(prefill)) * (repeats + 1) + len(new) * usual
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    cases = []
    for engine in engines if new else ():
        engine.read(ids[:context])
    for size in new:
        step = ids[context : context + size]
        calls = {engine.name: _step(engine, step, question) for engine in engines}
        cases.append(_timed(Case(f"step {size}", size), calls, repeats, tick))
    for size in new if usual else ():  # behind all steps: the peers lose their context
        whole = np.concatenate([ids[: context + size], question])
        calls = {engine.name: _again(engine, whole) for engine in engines[1:]}
        calls = {OURS: _step(engines[0], ids[context : context + size], question)} | calls
        case = Case(f"step {size}, read again", size, usual=True)
        cases.append(_timed(case, calls, usual - 1, tick, first_counts=True))
    for size in prefill:
        calls = {engine.name: _again(engine, ids[:size]) for engine in engines}
        cases.append(_timed(Case(f"prefill {size}", size), calls, repeats, tick))
    return cases


Call = Callable[[], tuple[float, Logits]]


def _step(engine: Engine, ids: Ids, question: Ids) -> Call:
    return lambda: engine.step(ids, question)


def _again(engine: Engine, ids: Ids) -> Call:
    return lambda: engine.again(ids)


def _timed(
    case: Case,
    calls: dict[str, Call],
    repeats: int,
    tick: Callable[[], None],
    first_counts: bool = False,
) -> Case:
    first = {name: call() for name, call in calls.items()}
    for name in calls:
        if name != OURS:
            case.cosines[name] = check(case.name, name, first[OURS][1], first[name][1])
    if first_counts:
        case.times.update({name: [elapsed] for name, (elapsed, _) in first.items()})
    tick()
    for _ in range(repeats):
        for name, call in calls.items():
            case.times.setdefault(name, []).append(call()[0])
        tick()
    return case


def check(case: str, name: str, ours: Logits, theirs: Logits) -> float:
    """The cosine of both; StepguardError when they are not answers of one model."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    lengths = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    cosine = float(a @ b) / max(lengths, 1e-30)
    # The best row of each may be another where the two best are closer than the rounding.
    slack = 4 * float(np.abs(a - b).mean())
    same = a[int(b.argmax())] >= a.max() - slack
    if not (cosine >= _LEAST_COSINE and same):
        raise StepguardError(
            f"{case}: {name}",
            expected=f"logits of the same model (cosine at least {_LEAST_COSINE})",
            got=f"cosine {cosine:.5f}, best row {b.argmax()} where ours is {a.argmax()}",
            fix="No time is printed for engines that compute different things.",
        )
    return cosine
