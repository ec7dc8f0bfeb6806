"""The metrics of `bench quality` against scikit-learn and by hand: ties, weights, one class."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    roc_auc_score,
    roc_curve,
)

from stepguard.bench.quality.bootstrap import interval
from stepguard.bench.quality.metrics import NAMES, RANKING, measure, replicates
from stepguard.train.metrics import quality
from stepguard.train.points import Floats, Ints


def tied(seed: int, count: int = 60) -> tuple[Floats, Floats, Ints]:
    """Margins with many ties, their scores, and labels that follow them a little."""
    rng = np.random.default_rng(seed)
    margins = np.round(rng.normal(size=count) * 2) / 2
    unsafe = (margins + rng.normal(size=count) * 2 > 0).astype(np.int64)
    return margins, 1 / (1 + np.exp(-margins)), unsafe


def test_by_hand() -> None:
    margins = np.array([3.0, 1.0, 1.0, -1.0, -2.0])
    unsafe = np.array([1, 1, 0, 0, 1])
    scores = np.array([0.9, 0.6, 0.6, 0.4, 0.1])
    found = measure(margins, scores, unsafe, 0.5)
    # Of 6 pairs: 3 above both safe ones (2), 1 above one and tied with the other (1.5), -2 none.
    assert found["auroc"] == pytest.approx(3.5 / 6)
    # Recall rises at 3 (precision 1), at 1 (2 of 3), at -2 (3 of 5).
    assert found["auprc"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert found["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["fnr_at_1"] == pytest.approx(2 / 3)  # without a false alarm only 3 is found
    assert found["brier"] == pytest.approx((0.01 + 0.16 + 0.36 + 0.16 + 0.81) / 5)
    assert found["ece"] == pytest.approx((0.1 + 0.2 + 0.4 + 0.9) / 5)


def test_false_alarms_that_are_allowed() -> None:
    margins = np.concatenate([np.arange(100.0), [98.5, 94.5, 10.5]])
    unsafe = np.concatenate([np.zeros(100, np.int64), np.ones(3, np.int64)])
    found = measure(margins, np.full(103, 0.5), unsafe, 0.5)
    assert found["fnr_at_1"] == pytest.approx(2 / 3)
    assert found["fnr_at_5"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("seed", range(4))
def test_replicates_are_what_scikit_learn_says(seed: int) -> None:
    margins, scores, unsafe = tied(seed)
    weights = np.random.default_rng(seed).integers(0, 4, (5, 60)).astype(np.float64)
    found = replicates(margins, scores, unsafe, 0.6, weights)
    called = scores >= 0.6
    for i, w in enumerate(weights):
        alarms, hits, _ = roc_curve(unsafe, margins, sample_weight=w, drop_intermediate=False)
        wanted = {
            "auroc": roc_auc_score(unsafe, margins, sample_weight=w),
            "auprc": average_precision_score(unsafe, margins, sample_weight=w),
            "f1": f1_score(unsafe, called, sample_weight=w),
            "balanced_accuracy": balanced_accuracy_score(unsafe, called, sample_weight=w),
            "brier": brier_score_loss(unsafe, scores, sample_weight=w),
            "fnr_at_1": 1 - hits[alarms <= 0.01].max(),
            "fnr_at_5": 1 - hits[alarms <= 0.05].max(),
            "ece": quality(scores, unsafe, w).ece,
        }
        assert {name: found[name][i] for name in NAMES} == pytest.approx(wanted, abs=1e-12)


def test_a_weight_of_one_is_the_plain_number() -> None:
    margins, scores, unsafe = tied(9)
    found = replicates(margins, scores, unsafe, 0.5, np.ones((1, 60)))
    plain = measure(margins, scores, unsafe, 0.5)
    assert {name: found[name][0] for name in NAMES} == pytest.approx(plain, abs=1e-12)


def test_large_blocks_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    margins, scores, unsafe = tied(3)
    weights = np.random.default_rng(3).integers(0, 3, (7, 60)).astype(np.float64)
    whole = replicates(margins, scores, unsafe, 0.5, weights)
    monkeypatch.setattr("stepguard.bench.quality.metrics._MOST_CELLS", 130)
    parts = replicates(margins, scores, unsafe, 0.5, weights)
    for name in NAMES:
        assert parts[name] == pytest.approx(whole[name], abs=1e-12)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_leaves_blanks(label: int) -> None:
    margins, scores, _ = tied(1)
    unsafe = np.full(60, label)
    found = measure(margins, scores, unsafe, 0.5)
    assert all(found[name] is None for name in RANKING)
    assert found["brier"] == pytest.approx(((scores - label) ** 2).mean())
    drawn = replicates(margins, scores, unsafe, 0.5, np.ones((2, 60)))
    assert all(np.isnan(drawn[name]).all() for name in RANKING)


def test_nothing_leaves_blanks() -> None:
    empty = np.empty(0)
    assert set(measure(empty, empty, empty.astype(np.int64), 0.5).values()) == {None}
    drawn = replicates(empty, empty, empty.astype(np.int64), 0.5, np.ones((3, 0)))
    assert all(np.isnan(drawn[name]).all() and len(drawn[name]) == 3 for name in NAMES)


def test_intervals() -> None:
    values = np.arange(1001.0)
    assert interval(values, 2) == pytest.approx((25.0, 975.0))
    assert interval(values, 1) is None
    assert interval(np.where(values < 101, np.nan, values), 9) is None
    few = interval(np.where(values < 90, np.nan, values), 9)
    assert few is not None
    assert few[0] > 90
    assert interval(np.empty(0), 9) is None
