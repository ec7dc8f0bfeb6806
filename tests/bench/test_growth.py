"""The order and number of timings, and that wrong results are never timed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepguard.bench.growth import (
    Point,
    attention_operations,
    contexts_up_to,
    measure_growth,
)
from stepguard.errors import StepguardError
from stepguard.manifest import Manifest
from stepguard.runtime import Engine, Segment
from tests.front.manifests import sample

TEXT = np.random.default_rng(1).integers(0, 300, 256).astype(np.int32)
QUESTION = TEXT[:5]
ROWS = np.array([1, 2], np.int32)


def measure(engine: Any, repeats: int = 2, **more: Any) -> list[Point]:
    return measure_growth(
        engine, TEXT, QUESTION, ROWS, contexts=[80, 200], step=16, repeats=repeats, **more
    )


@pytest.fixture(scope="module")
def engine(tiny_guards: dict[str, Path]) -> Iterator[Engine]:
    engine = Engine(tiny_guards["int8"], threads=1, memory=16 << 20)
    yield engine
    engine.close()


def test_contexts() -> None:
    assert contexts_up_to(8192) == [512, 1024, 2048, 4096, 8192]
    assert contexts_up_to(32768)[-3:] == [8192, 16384, 32768]
    assert contexts_up_to(3000) == [512, 1024, 2048, 3000]
    assert contexts_up_to(100) == [100]


def test_every_point_has_all_its_times(engine: Engine) -> None:
    seen: list[tuple[int, int]] = []
    points = measure(engine, progress=lambda *counts: seen.append(counts))
    assert [(point.context, point.step, point.question) for point in points] == [
        (80, 16, 5),
        (200, 16, 5),
    ]
    for point in points:
        assert len(point.step_ms) == len(point.again_ms) == 2
        assert min(point.step_ms + point.again_ms) > 0
    assert seen[-1] == (12, 12)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_numbers_of_a_point() -> None:
    point = Point(100, 10, 5, [1.0, 2.0, 6.0], [8.0, 10.0, 90.0])
    assert (point.step_median, point.again_median, point.ratio) == (2.0, 10.0, 5.0)
    assert point.to_dict() == {
        "context": 100,
        "step": 10,
        "question": 5,
        "step_ms": [1.0, 2.0, 6.0],
        "again_ms": [8.0, 10.0, 90.0],
        "step_ms_median": 2.0,
        "again_ms_median": 10.0,
        "ratio": 5.0,
    }


def test_only_the_step_is_computed(engine: Engine) -> None:
    before = engine.stats()["tokens"]
    measure(engine, repeats=1)
    # The states below (59 and 120 more), then twice: 21 and the whole path, for both lengths.
    assert engine.stats()["tokens"] - before == 179 + 2 * (21 + 80 + 21 + 200)


def test_long_contexts_are_not_read_again(engine: Engine) -> None:
    seen: list[tuple[int, int]] = []
    before = engine.stats()["tokens"]
    points = measure(engine, again_to=100, progress=lambda *counts: seen.append(counts))
    assert [len(point.again_ms) for point in points] == [2, 0]
    assert [len(point.step_ms) for point in points] == [2, 2]
    assert engine.stats()["tokens"] - before == 179 + 3 * (21 + 80 + 21)
    assert seen[-1] == (9, 9)
    assert points[1].to_dict()["ratio"] is None
    assert points[1].to_case()["best_peer"] is None
    assert points[0].to_case()["peers"] == {"read again": points[0].again_median}


def test_attention_of_the_last_rows() -> None:
    shape = Manifest.from_dict(sample()).architecture  # 2 layers of 4 heads of 16
    # Rows 8, 9 and 10 of a path look at 8, 9 and 10 keys.
    assert attention_operations(shape, 10, 3) == 4 * 2 * 4 * 16 * (8 + 9 + 10)


class Spoiled:
    """An engine that answers something else from the root, or not at all."""

    def __init__(self, engine: Engine, reason: str) -> None:
        self.engine, self.reason, self.root = engine, reason, engine.root

    def submit(self, segments: Sequence[Segment]) -> Any:
        ticket = self.engine.submit(segments)
        from_root = segments[0].parent is self.root and len(segments) == 2
        return Spoiled.Ticket(ticket.wait(), self.reason) if from_root else ticket

    class Ticket:
        def __init__(self, results: list[Any], reason: str) -> None:
            self.results, self.reason = results, reason

        def wait(self) -> list[Any]:
            class Answer:
                reason, message, state = self.reason, "no page", None
                logits = self.results[1].logits + np.float32(1e-6)

            return [self.results[0], Answer()]


def test_other_bits_are_an_error(engine: Engine) -> None:
    with pytest.raises(StepguardError, match="context 80: expected the same bits"):
        measure(Spoiled(engine, ""))


def test_a_missing_answer_is_an_error(engine: Engine) -> None:
    with pytest.raises(StepguardError, match="memory: no page"):
        measure(Spoiled(engine, "memory"))
