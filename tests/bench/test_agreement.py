"""At the threshold that counts: which verdicts agree, and how sure that is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from stepguard.bench.agreement import agreement, balanced, stops, threshold_of
from stepguard.bench.fidelity import Margins
from stepguard.bench.samples import Sample
from stepguard.errors import TrajectoryError
from stepguard.prompt import Step, Trajectory
from stepguard.taxonomy import Calibration

ONE = Trajectory("", (Step.user("hello"),))
PLATT = Calibration(2.0, -1.0, 0.5, 0.9)
ISOTONIC = Calibration(1.0, 0.0, 0.3, 0.6, ((-1.0, 0.2), (1.0, 0.4), (3.0, 0.8)))


def samples(count: int, families: int | None = None) -> list[Sample]:
    metas = [{} if families is None else {"family": f"f{i % families}"} for i in range(count)]
    return [Sample(f"s{i}", ONE, {"meta": meta}) for i, meta in enumerate(metas)]


def answers(margins: list[float], owners: list[int], labels: list[int] | None = None) -> Margins:
    values = np.array(margins)
    known = np.full(len(values), -1) if labels is None else np.array(labels)
    tokens = np.arange(10, 11 + max(owners))
    return Margins(values, np.zeros((len(values), 2)), tokens, np.array(owners), known)


def drawn(seed: int, count: int = 60) -> tuple[Margins, Margins]:
    """Two guards of which the second adds noise, two verdicts a trajectory, with labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    first = rng.normal(size=count) + labels
    owners = [i // 2 for i in range(count)]
    second = first + rng.normal(size=count) * 0.3 + 0.1
    return (
        answers(first.tolist(), owners, labels.tolist()),
        answers(second.tolist(), owners, labels.tolist()),
    )


def test_thresholds_are_the_least_margins_that_are_stopped() -> None:
    assert threshold_of(None) == 0.0
    assert threshold_of(PLATT) == pytest.approx(0.5, abs=1e-9)  # sigmoid(2 * 0.5 - 1) = 0.5
    assert threshold_of(ISOTONIC) == pytest.approx(0.0, abs=1e-9)
    never = Calibration(1.0, 0.0, 0.9, 0.9, ((0.0, 0.1), (1.0, 0.2)))
    assert threshold_of(never) == math.inf
    assert not stops(np.array([1e3]), never).any()
    always = Calibration(1.0, 0.0, 0.1, 0.9, ((0.0, 0.2), (1.0, 0.3)))
    assert threshold_of(always) == -math.inf
    slow = Calibration(1e-5, 0.0, 0.7, 0.9)
    assert threshold_of(slow) == pytest.approx(math.log(0.7 / 0.3) * 1e5, rel=1e-6)
    assert stops(np.array([-0.1, 0.0, 0.1]), None).tolist() == [False, True, True]
    assert stops(np.array([0.49, 0.51]), PLATT).tolist() == [False, True]


def test_agreement_by_hand() -> None:
    first = answers([-2.0, -0.1, 0.2, 3.0, 4.0], [0, 1, 2, 3, 4], [0, 0, 1, 1, -1])
    second = answers([-1.0, 0.1, 0.3, 2.0, 4.5], [0, 1, 2, 3, 4], [0, 0, 1, 1, -1])
    found = agreement(first, second, samples(5), None)
    assert found.agree.value == 0.8  # the second verdict
    assert found.near.value == 0.0  # a fifth is one verdict: that one
    assert found.shift.value == pytest.approx(0.16)
    assert found.auroc is not None
    assert found.auroc.value == 0.0  # both rank the labelled ones rightly
    for one in (found.agree, found.shift):
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.value <= one.high
    moved = agreement(first, second, samples(5), PLATT)  # from 0.5 up, and none crosses
    assert (moved.agree.value, moved.near.value) == (1.0, 1.0)


def test_changes_of_auroc_are_those_of_scikit_learn() -> None:
    first, second = drawn(0)
    found = agreement(first, second, samples(30), None)
    areas = [roc_auc_score(first.labels, one.margins) for one in (second, first)]
    assert found.auroc is not None
    assert found.auroc.value == pytest.approx(areas[0] - areas[1])
    same = agreement(first, first, samples(30), None)
    assert same.auroc is not None
    assert (same.auroc.low, same.auroc.high, same.agree.low) == (0.0, 0.0, 1.0)
    one_class = answers(first.margins.tolist(), first.owners.tolist(), [1] * 60)
    assert agreement(one_class, second, samples(30), None).auroc is None


def test_families_are_drawn_whole() -> None:
    """The interval of a share that is the same within a family is that of the families."""
    families, each = 8, 5
    first = answers([1.0] * families * each, list(range(families * each)))
    wrong = [1.0 if (i % families) % 2 else -1.0 for i in range(families * each)]
    second = answers(wrong, list(range(families * each)))
    wide = agreement(first, second, samples(families * each, families), None).agree
    narrow = agreement(first, second, samples(families * each), None).agree
    assert wide.low is not None
    assert narrow.low is not None
    assert wide.value == narrow.value == 0.5
    # Half of the width is about two standard errors of a share of 8, and of 40.
    assert 0.5 - wide.low == pytest.approx(2 * 0.5 / families**0.5, abs=0.1)
    assert 0.5 - narrow.low == pytest.approx(2 * 0.5 / (families * each) ** 0.5, abs=0.05)
    numbers = [Sample(f"s{i}", ONE, {"meta": {"family": 1 + i % families}}) for i in range(40)]
    assert agreement(first, second, numbers, None).agree == wide
    unnamed = [Sample(f"s{i}", ONE, {"meta": {"family": ""}}) for i in range(40)]
    assert agreement(first, second, unnamed, None).agree == narrow
    alone = agreement(first, second, samples(families * each, 1), None).agree
    assert (alone.value, alone.low, alone.high) == (0.5, None, None)
    assert agreement(first, second, samples(40, families), None, 0).agree == wide


def test_a_balanced_choice_has_a_quarter_of_each() -> None:
    # Four trajectories of two verdicts that pass, then one with a verdict that is stopped.
    margins = [-1.0] * 8 + [1.0, -1.0]
    first = answers(margins, [i // 2 for i in range(10)])
    places = balanced(first, None)
    assert places == [0, 4]  # the last ones that only pass are left out
    chosen = first.of(places)
    assert stops(chosen.margins, None).mean() == 0.25
    assert chosen.owners.tolist() == [0, 0, 1, 1]
    assert chosen.tokens.tolist() == [10, 14]
    other = balanced(answers([-m for m in margins], [i // 2 for i in range(10)]), None)
    assert other == places  # the other way round
    even = answers([1.0, -1.0], [0, 1])
    assert balanced(even, None) == [0, 1]
    # A mixed one that has too little of the rarer class goes, too.
    mixed = answers([-1.0] * 19 + [1.0] + [-1.0, 1.0], [0] * 20 + [1, 1])
    assert balanced(mixed, None) == [1]
    with pytest.raises(TrajectoryError, match="verdicts not safe, got none; 0 of all 2"):
        balanced(answers([-1.0, -2.0], [0, 1]), None)
    with pytest.raises(TrajectoryError, match="verdicts safe, got none; 0 of all 2"):
        balanced(answers([1.0, 2.0], [0, 1]), None)
