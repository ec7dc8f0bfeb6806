"""Which questions are asked, and what the differences come to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stepguard.bench import compare, read_margins, read_samples
from stepguard.bench.fidelity import Margins, last_path, questions
from stepguard.bench.opened import Opened, check_same_prompt, opened
from stepguard.bench.samples import Sample
from stepguard.errors import ModelFormatError, StepguardError
from stepguard.prompt import Step, Trajectory


def margins(*values: float) -> Margins:
    wanted, count = np.array(values), len(values)
    logits = np.stack([np.zeros_like(wanted), wanted], axis=1)
    return Margins(wanted, logits, np.full(count, 10), np.arange(count), np.full(count, -1))


def test_differences_by_hand() -> None:
    found = compare(margins(-1.0, 2.0, 0.5), margins(-0.5, 2.0, -0.5))
    assert found.verdicts == 3
    assert found.margin_mean == pytest.approx(0.5)
    assert found.margin_max == pytest.approx(1.0)
    assert found.margin_p95 == pytest.approx(0.95)
    assert found.margin_bias == pytest.approx(-0.5 / 3)
    assert found.margin_spread == pytest.approx(np.std([-1.0, 2.0, 0.5]))
    assert found.logit_mean == pytest.approx(0.25)
    assert found.logit_max == pytest.approx(1.0)
    assert found.flips == 1


def test_other_questions_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        compare(margins(1.0, 2.0), margins(1.0, 2.0, 3.0))


@pytest.fixture(scope="module")
def guard(tiny_guards: dict[str, Path]) -> Iterator[Opened]:
    with opened(tiny_guards["float32"], threads=1) as model:
        yield model


@pytest.fixture
def trajectory(data: Path) -> Trajectory:
    return read_samples([data], 1)[0].trajectory


def test_a_question_for_every_action(guard: Opened, trajectory: Trajectory) -> None:
    asks = questions(guard.reader.encoder, trajectory, 10_000)
    assert len(asks) == sum(step.is_action for step in trajectory.steps) == 2
    assert [ask.track.step for ask in asks] == [2, 4]
    whole = guard.reader.encoder.whole(trajectory)
    assert np.array_equal(last_path(guard.reader.encoder, asks), whole)


def test_without_an_action_one_question_at_the_end(guard: Opened) -> None:
    trajectory = Trajectory("", (Step.user("hello"), Step.environment("17 records")))
    encoder = guard.reader.encoder
    asks = questions(encoder, trajectory, 10_000)
    assert len(asks) == 1
    assert np.array_equal(last_path(encoder, asks), encoder.whole(trajectory))


def test_the_cut_holds_for_every_length(guard: Opened, trajectory: Trajectory) -> None:
    encoder = guard.reader.encoder
    whole = len(encoder.whole(trajectory))
    prompt = len(encoder.prefix_ids) + len(encoder.question(encoder.begin("").border))
    counts = []
    for cut in range(prompt + 40, whole + 2):
        asks = questions(encoder, trajectory, cut)
        path = last_path(encoder, asks)
        assert len(path) <= cut
        assert len(path) > cut - 80 or len(asks) == 2
        counts.append(len(asks))
    assert sorted(set(counts)) == [1, 2, 3] or sorted(set(counts)) == [1, 2]
    with pytest.raises(StepguardError, match="room for the prompt"):
        questions(encoder, trajectory, len(encoder.prefix_ids))


def test_a_guard_agrees_with_itself(guard: Opened, data: Path) -> None:
    samples = read_samples([data], 3)
    seen: list[tuple[int, int]] = []
    first = read_margins(guard, samples, 10_000, lambda *counts: seen.append(counts))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    found = compare(first, read_margins(guard, samples, 10_000))
    assert (found.verdicts, found.margin_max, found.logit_max, found.flips) == (6, 0.0, 0.0, 0)


def test_int8_is_near_but_not_equal(
    guard: Opened, tiny_guards: dict[str, Path], data: Path
) -> None:
    samples = read_samples([data], 3)
    with opened(tiny_guards["int8"], threads=1) as other:
        check_same_prompt(guard, other)
        found = compare(read_margins(guard, samples, 400), read_margins(other, samples, 400))
    assert 0 < found.logit_max < 1


def test_a_missing_answer_is_no_comparison(guard: Opened, data: Path) -> None:
    long = Trajectory("", (Step.user("hello " * 2000), Step.agent(action="x")))
    sample = type(read_samples([data], 1)[0])("long", long)
    with pytest.raises(StepguardError, match="long: expected an answer"):
        read_margins(guard, [sample], 100_000)


def test_another_prompt_is_refused(guard: Opened) -> None:
    prompt = SimpleNamespace(to_manifest=lambda: {"name": "another"})
    inner = SimpleNamespace(manifest=guard.guard.manifest, prompt=prompt)
    other: Any = SimpleNamespace(folder=Path("other"), guard=inner)
    with pytest.raises(ModelFormatError, match="other: prompt"):
        check_same_prompt(guard, other)


@pytest.mark.parametrize(
    ("value", "cut", "expected"),
    [
        ({}, 10_000, [-1, -1]),
        ({"label": 0}, 10_000, [0, 0]),
        ({"label": 1}, 10_000, [-1, 1]),
        ({"label": 1, "first_unsafe_step": 2}, 10_000, [1, 1]),
        ({"label": 1, "first_unsafe_step": 4}, 10_000, [0, 1]),
        ({"label": 1}, 0, [-1, -1]),  # the end was not read
        ({"label": 1, "first_unsafe_step": 2}, 0, [1, 1]),
        ({"label": 1, "first_unsafe_step": 4}, 0, [0, -1]),  # within that very step
    ],
)
def test_labels_of_what_was_read(
    guard: Opened, trajectory: Trajectory, value: dict[str, Any], cut: int, expected: list[int]
) -> None:
    """The actions are steps 2 and 4; a cut of 0 stands for one within the last of them."""
    encoder = guard.reader.encoder
    asks = questions(encoder, trajectory, 10_000)
    if cut == 0:
        cut = len(encoder.prefix_ids) + asks[1].track.total + len(asks[1].question) - 3
        assert len(questions(encoder, trajectory, cut)) == 2
    found = read_margins(guard, [Sample("one", trajectory, value)], cut)
    assert found.labels.tolist() == expected
    assert found.owners.tolist() == [0, 0]
