"""What a guard and the programs beside it cost each other.

Loops of NumPy and PyTorch, alone and in a process that has an idle guard; a step of the guard,
alone and beside a foreign process that never rests. Both sides of a case are timed in turns, so
that whatever else the machine does hits both.
"""

from __future__ import annotations

import dataclasses
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stepguard.bench.neighbour_probe import Probe
from stepguard.errors import StepguardError
from stepguard.runtime import Engine, Segment, State

Ids = npt.NDArray[np.int32]
Progress = Callable[[int, int], None]
LOOP_LIMIT, FORWARD_LIMIT = 1.02, 2.5
_WARMUPS = 2


@dataclass(frozen=True)
class Case:
    """Something timed alone and beside something else, in milliseconds."""

    name: str
    limit: float
    """The largest ratio of the medians that is promised."""
    alone_ms: list[float] = field(default_factory=list)
    beside_ms: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """How many times longer it takes beside the other."""
        return statistics.median(self.beside_ms) / statistics.median(self.alone_ms)

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return dataclasses.asdict(self) | {
            "alone_ms_median": statistics.median(self.alone_ms),
            "beside_ms_median": statistics.median(self.beside_ms),
            "ratio": self.ratio,
        }


@dataclass(frozen=True)
class Idle:
    """CPU seconds that a process with an idle guard took while nothing was asked of it."""

    seconds: float
    cpu_seconds: float


def measure_loops(
    folder: Path,
    kinds: Sequence[str],
    *,
    threads: int | None = None,
    repeats: int = 15,
    products: int = 40,
    seconds: float = 5.0,
    progress: Progress | None = None,
) -> tuple[list[Case], Idle]:
    """Loops of the `kinds` ("numpy", "torch") in two processes, one of them with an idle guard.

    The guard has judged once. repeats: timings of each, the first two not counted. products: how
    many products of matrices a loop makes. seconds: how long the guard is watched while it is idle.

    Raises:
        StepguardError: a process ended early.
    """
    cases = [Case(f"a {kind} loop beside an idle guard", LOOP_LIMIT) for kind in kinds]
    total = len(cases) * (repeats + _WARMUPS)
    with Probe() as alone, Probe(folder, threads) as beside:
        idle = Idle(seconds, beside.ask("idle", seconds))
        for number in range(repeats + _WARMUPS):
            for index, (kind, case) in enumerate(zip(kinds, cases, strict=True)):
                sides = [(alone, case.alone_ms), (beside, case.beside_ms)]
                for probe, times in sides if number % 2 else sides[::-1]:
                    taken = probe.ask(kind, products)
                    if number >= _WARMUPS:
                        times.append(taken)
                if progress is not None:
                    progress(number * len(cases) + index + 1, total)
    return cases, idle


def measure_forward(
    engine: Engine,
    text: Ids,
    question: Ids,
    rows: Ids,
    *,
    step: int = 64,
    repeats: int = 15,
    progress: Progress | None = None,
) -> Case:
    """A step and its question on a kept State, alone and beside one process that never rests.

    text: int32 [n], its last `step` tokens are the step, the others the context. question: int32
    [q]. rows: int32 [r] output rows to read. The first two repeats do not count.

    Raises:
        StepguardError: the engine gave no answer.
    """
    case = Case(f"a step of {step} tokens beside one busy process", FORWARD_LIMIT)
    base = _kept(engine, text[:-step])
    with Spinner() as neighbour:
        for number in range(repeats + _WARMUPS):
            sides = [(False, case.alone_ms), (True, case.beside_ms)]
            for busy, times in sides if number % 2 else sides[::-1]:
                neighbour.spin(busy)
                taken = _timed(engine, base, text[-step:], question, rows)
                if number >= _WARMUPS:
                    times.append(taken)
            if progress is not None:
                progress(number + 1, repeats + _WARMUPS)
    return case


class Spinner:
    """A foreign process that takes a core while it is told to, and sleeps otherwise."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        self.spin(False)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def spin(self, on: bool) -> None:
        """Starts or stops it, and gives the system a moment to notice."""
        self._process.send_signal(signal.SIGCONT if on else signal.SIGSTOP)
        time.sleep(0.05)

    def __enter__(self) -> Spinner:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def _kept(engine: Engine, ids: Ids) -> State:
    result = engine.submit([Segment(ids, engine.root, keep=True)]).wait()[0]
    if result.state is None:
        raise _no_answer(result.reason, result.message)
    return result.state


def _timed(engine: Engine, base: State, ids: Ids, question: Ids, rows: Ids) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    segments = [Segment(ids, base, keep=True), Segment(question, 0, read=rows)]
    results = engine.submit(segments).wait()
    taken = (time.perf_counter() - started) * 1000
    for result in results:
        if result.reason:
            raise _no_answer(result.reason, result.message)
    return taken


def _no_answer(reason: str, message: str) -> StepguardError:
    return StepguardError("the engine", expected="an answer", got=f"{reason}: {message}")
