"""What a step and its verdict cost as the trajectory grows, beside reading everything again.

The two ways are timed in turns, so that whatever else the machine does hits both. Before a time
counts, the label logits of both ways must be the same bits. Very long contexts are read again only
when that is asked for: it takes minutes.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stepguard.errors import StepguardError
from stepguard.manifest import Architecture
from stepguard.runtime import Engine, Result, Segment, State

Ids = npt.NDArray[np.int32]
Progress = Callable[[int, int], None]
CONTEXTS = (512, 1024, 2048, 4096, 8192, 16384, 32768)


@dataclass(frozen=True)
class Point:
    """Times at one length of context, in milliseconds; again_ms is empty where none was taken."""

    context: int
    """Tokens of the whole path, the step and the question included."""
    step: int
    question: int
    step_ms: list[float] = field(default_factory=list)
    again_ms: list[float] = field(default_factory=list)

    @property
    def step_median(self) -> float:
        """Median milliseconds of the step and its verdict."""
        return statistics.median(self.step_ms)

    @property
    def again_median(self) -> float | None:
        """Median milliseconds of reading everything again."""
        return statistics.median(self.again_ms) if self.again_ms else None

    @property
    def ratio(self) -> float | None:
        """How many times longer it takes to read everything again."""
        again = self.again_median
        return None if again is None else again / self.step_median

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return dataclasses.asdict(self) | {
            "step_ms_median": self.step_median,
            "again_ms_median": self.again_median,
            "ratio": self.ratio,
        }

    def to_case(self) -> dict[str, object]:
        """A line of the list that all benchmarks have: ours is the step, the peer reads again."""
        again = self.again_median
        return {
            "name": f"context {self.context}",
            "ours_ms": self.step_median,
            "peers": {} if again is None else {"read again": again},
            "best_peer": None if again is None else "read again",
            "ratio": self.ratio,
        }


def contexts_up_to(most: int) -> list[int]:
    """The lengths that are measured: powers of two from 512, and `most` itself."""
    return [size for size in CONTEXTS if size < most] + [most]


def measure_growth(
    engine: Engine,
    text: Ids,
    question: Ids,
    rows: Ids,
    *,
    contexts: Sequence[int],
    step: int = 64,
    repeats: int = 5,
    again_to: int = 1 << 31,
    progress: Progress | None = None,
) -> list[Point]:
    """Times a step of `step` tokens and its question at the end of paths of given lengths.

    text: int32 [n] with n at least the longest context less the question. question: int32 [q].
    rows: int32 [r] output rows to read. again_to: longest context that is read again, too.
    `progress` gets how many timings are done, and of how many.
    The first repeat warms up and does not count.

    Raises:
        StepguardError: a way gave no answer, or the two gave different bits.
    """
    points = [Point(context, step, len(question)) for context in contexts]
    bases = _bases(engine, text, [point.context - step - len(question) for point in points])
    again = sum(point.context <= again_to for point in points)
    total, done = (len(points) + again) * (repeats + 1), 0
    for repeat in range(repeats + 1):
        for point, base in zip(points, bases, strict=True):
            end = base.length + step
            streamed = _timed(engine, base, text[base.length : end], question, rows)
            point.step_ms.append(streamed[0])
            if point.context <= again_to:
                whole = _timed(engine, engine.root, text[:end], question, rows)
                _same(point, streamed[1], whole[1])
                point.again_ms.append(whole[0])
            done += 1 + (point.context <= again_to)
            if repeat == 0:
                point.step_ms.clear()
                point.again_ms.clear()
            if progress is not None:
                progress(done, total)
    return points


def _same(point: Point, streamed: bytes, whole: bytes) -> None:
    if streamed != whole:
        raise StepguardError(
            f"context {point.context}",
            expected="the same bits step by step and at once",
            got="different label logits",
            fix="This is a fault of stepguard: please report it.",
        )


def attention_operations(architecture: Architecture, context: int, rows: int) -> int:
    """Of the last `rows` tokens of a path, in all layers; a multiply-add is two."""
    pairs = rows * (context - rows) + rows * (rows + 1) // 2
    width = architecture.heads * architecture.head_dim
    return 4 * pairs * width * architecture.attention_layers


def _bases(engine: Engine, text: Ids, lengths: Sequence[int]) -> list[State]:
    """The States that steps are put on: `lengths` must rise."""
    states, state = [], engine.root
    for length in lengths:
        segment = Segment(text[state.length : length], state, keep=True)
        state = _state(engine.submit([segment]).wait()[0])
        states.append(state)
    return states


def _timed(
    engine: Engine, parent: State, ids: Ids, question: Ids, rows: Ids
) -> tuple[float, bytes]:
    """(milliseconds, bits of the label logits) of new tokens, kept, and the question on top."""
    started = time.perf_counter()
    kept, answer = engine.submit(
        [Segment(ids, parent, keep=True), Segment(question, 0, read=rows)]
    ).wait()
    elapsed = (time.perf_counter() - started) * 1000
    _state(kept)
    _check(answer)
    return elapsed, answer.logits.tobytes()


def _state(result: Result) -> State:
    _check(result)
    assert result.state is not None  # it was kept
    return result.state


def _check(result: Result) -> None:
    if result.reason:
        raise StepguardError(
            "the engine", expected="an answer", got=f"{result.reason}: {result.message}"
        )
