"""AUROC against scikit-learn, at equal positions against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from stepguard.train.ranking import auroc, draw_weights, interval, matched_auroc, recall


def draw(seed: int, n: int = 200) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 30, n).astype(np.float64)  # with ties
    return scores, rng.integers(0, 2, n), rng.random(n), rng.integers(1, 8, n)


@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_scikit_learns(seed: int) -> None:
    scores, unsafe, weights, _ = draw(seed)
    expected = roc_auc_score(unsafe, scores, sample_weight=weights)
    assert auroc(scores, unsafe, weights) == pytest.approx(expected, abs=1e-12)


def test_matched_pairs_are_those_at_one_step() -> None:
    scores, unsafe, weights, steps = draw(9, 60)
    right = total = 0.0
    for i in range(60):
        for j in range(60):
            if unsafe[i] and not unsafe[j] and steps[i] == steps[j]:
                pair = weights[i] * weights[j]
                total += pair
                right += pair * (1.0 if scores[i] > scores[j] else 0.5 * (scores[i] == scores[j]))
    found = matched_auroc(scores, unsafe, weights, steps)
    assert found == pytest.approx(right / total, abs=1e-12)
    position = steps.astype(np.float64)
    assert matched_auroc(position, unsafe, weights, steps) == 0.5  # which says nothing there


def test_what_has_no_value() -> None:
    one = np.ones(3)
    assert np.isnan(auroc(one, np.ones(3, np.int64), one))
    assert np.isnan(matched_auroc(one, np.array([1, 0, 0]), one, np.arange(3)))
    assert interval(float("nan"), one).value is None


def test_draws_are_of_whole_families_and_always_alike() -> None:
    families = np.array([4, 4, 7, 9, 9, 9])
    drawn = draw_weights(np.full(6, 2.0), families, seed=3)
    assert np.array_equal(drawn, draw_weights(np.full(6, 2.0), families, seed=3))
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert (drawn[:, [0, 2, 3]].sum(axis=1) == 6).all()  # three families each time
    found = interval(0.5, np.linspace(0, 1, 401))
    assert (found.low, found.high) == (0.025, 0.975)


def test_recall_weighs_labels_alike() -> None:
    labels, chosen = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert recall(chosen, labels, np.array([1.0, 1.0, 2.0, 5.0])) == pytest.approx(0.75)
