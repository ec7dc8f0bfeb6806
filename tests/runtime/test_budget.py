"""How a call is cut into forwards. With next to no budget a forward has the least that there is,
16 tokens, whatever the speed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stepguard.runtime import Engine, Segment

ROWS = np.array([1, 5], np.int32)


def tokens(count: int) -> np.ndarray:
    return np.arange(1, count + 1, dtype=np.int32)


@pytest.fixture(params=["tiny_models", "hybrid_models"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    folder: Path = request.getfixturevalue(request.param)["int8"]
    engine = Engine(folder, threads=1, memory=16 << 20, budget_ms=0.001)
    yield engine
    engine.close()


def forwards(engine: Engine, *segments: Segment, seconds: float | None = None) -> int:
    before = engine.stats()["forwards"]
    results = engine.submit(segments, seconds=seconds).wait(60)
    assert [result.reason for result in results] == [""] * len(segments)
    return int(engine.stats()["forwards"] - before)


@pytest.mark.parametrize(("count", "wanted"), [(1, 1), (16, 1), (48, 1), (49, 2), (64, 2), (65, 3)])
def test_what_is_alone_ends_with_a_forward_of_three_budgets(
    engine: Engine, count: int, wanted: int
) -> None:
    assert forwards(engine, Segment(tokens(count), engine.root, keep=True)) == wanted


def test_a_step_and_its_question_are_not_cut(engine: Engine) -> None:
    step = Segment(tokens(24), engine.root, keep=True)
    assert forwards(engine, step, Segment(tokens(24), 0, read=ROWS)) == 1


def test_a_deadline_is_looked_at_after_every_budget(engine: Engine) -> None:
    segment = Segment(tokens(48), engine.root, keep=True)
    assert forwards(engine, segment, seconds=60) == 3
