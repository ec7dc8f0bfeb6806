"""Influence against retraining, against PyTorch's derivatives, and against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

from stepguard.errors import TaxonomyError
from stepguard.train.examples import label_rows
from stepguard.train.influence.closed import (
    datainf_harms,
    preference_direction,
    preference_harms,
)
from stepguard.train.influence.logistic import Logistic, exact_harms
from stepguard.train.influence.purify import harms_of, owners_of, purify
from stepguard.train.probes import fit
from tests.train.influence_data import Planted, planted

STRENGTH = 0.05


def fitted(data: Planted, strength: float = STRENGTH) -> Logistic:
    examples = label_rows(data.records, data.rows)
    owners = owners_of(data.records, data.rows)
    head = fit("logistic", examples, strength)
    return Logistic.of(
        head,
        examples.features,
        examples.labels,
        examples.balanced,
        owners,
        len(data.records),
        strength,
    )


def test_it_is_the_head_that_scikit_learn_fitted() -> None:
    """At the optimum the gradients of the records and of the penalty cancel."""
    found = fitted(planted(0))
    penalty = np.append(found.theta[:-1] / STRENGTH, 0.0)
    total = found.gradients.sum(0) + penalty
    assert np.abs(total).max() < 1e-4 * np.abs(found.gradients).sum(0).max()


def test_derivatives_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    found = fitted(planted(1, 60))
    rows, weights = torch.tensor(found.features), torch.tensor(found.weights)
    labels = torch.tensor(found.labels, dtype=torch.float64)

    def losses(theta: object) -> object:
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            rows @ theta, labels, reduction="none"
        )
        sums = torch.zeros(found.count, dtype=torch.float64)
        return sums.index_add(0, torch.tensor(found.records), weights * each)

    def objective(theta: object) -> object:
        return losses(theta).sum() + (theta[:-1] ** 2).sum() / (2 * STRENGTH)

    theta = torch.tensor(found.theta)
    jacobian = torch.autograd.functional.jacobian(losses, theta).numpy()
    hessian = torch.autograd.functional.hessian(objective, theta).numpy()
    np.testing.assert_allclose(found.losses, losses(theta).numpy(), rtol=1e-10)
    np.testing.assert_allclose(found.gradients, jacobian, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(found.hessian, hessian, rtol=1e-8, atol=1e-12)


def test_exact_influence_is_what_retraining_shows() -> None:
    """True leave-one-out: scikit-learn fits without each record, the rest as it was."""
    data, others = planted(2, 120), planted(3, 80, flips=0.0, name="t")
    found = fitted(data)
    goal = label_rows(others.records, others.rows)
    head = fit("logistic", label_rows(data.records, data.rows), STRENGTH)
    target = found.target(head, goal.features, goal.labels, goal.weights)
    harms = exact_harms(found, target)
    rows = (goal.features - head.mean) / head.scale

    def loss(kept: np.ndarray) -> float:
        model = LogisticRegression(C=STRENGTH, tol=1e-10, max_iter=200, solver="newton-cholesky")
        model.fit(found.features[kept, :-1], found.labels[kept], sample_weight=found.weights[kept])
        margins = model.decision_function(rows)
        signed = np.where(goal.labels == 1, 1, -1) * margins
        return float(goal.weights @ np.logaddexp(0, -signed))

    whole = loss(np.ones(len(found.records), bool))
    true = np.array([whole - loss(found.records != one) for one in range(found.count)])
    rank = spearmanr(harms, true).statistic
    print(f"Spearman with leave-one-out: exact {rank:.4f}")
    assert rank > 0.95
    # Not the order alone: to first order the numbers, too.
    assert np.polyfit(harms, true, 1)[0] == pytest.approx(1.0, abs=0.3)

    gradients = found.gradients
    closed = datainf_harms(lambda: ([row] for row in gradients), [target])
    first = spearmanr(closed, true).statistic
    print(f"Spearman with leave-one-out: DataInf {first:.4f}")
    assert 0.7 < first < rank


def test_datainf_is_its_formula() -> None:
    """With the inverses written out, two layers."""
    rng = np.random.default_rng(4)
    layers = [rng.standard_normal((30, width)) * scale for width, scale in ((6, 1.0), (9, 0.1))]
    target = [rng.standard_normal(6), rng.standard_normal(9)]
    found = datainf_harms(lambda: zip(*layers, strict=True), target)
    expected = np.zeros(30)
    for table, v in zip(layers, target, strict=True):
        damping = 0.1 * (table**2).mean()
        inverses = [np.linalg.inv(np.outer(g, g) + damping * np.eye(len(g))) for g in table]
        expected -= table @ np.mean(inverses, 0) @ v
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_preference_is_its_formula() -> None:
    rng = np.random.default_rng(5)
    right, wrong, samples = (rng.standard_normal((n, 7)) for n in (12, 12, 20))
    logs = rng.standard_normal((2, 12))
    weights = rng.random(12)
    direction = preference_direction(right, wrong, *logs, weights)
    expected = np.zeros(7)
    for q in range(12):
        chance = np.exp(logs[0, q]) / (np.exp(logs[0, q]) + np.exp(logs[1, q]))
        expected += weights[q] * chance * (right[q] - wrong[q])
    np.testing.assert_allclose(direction, expected / weights.sum(), rtol=1e-12)
    harms = preference_harms(lambda: ([row] for row in samples), [direction])
    np.testing.assert_allclose(harms, -samples @ direction, rtol=1e-12)


def test_a_step_down_a_useful_gradient_helps_the_preference() -> None:
    """The sign: of two records, the one that teaches what the targets ask for does less harm."""
    data = planted(6, 80)
    examples, owners = label_rows(data.records, data.rows), owners_of(data.records, data.rows)
    found = harms_of(examples, owners, 80, STRENGTH, None)
    for name in ("exact", "preference", "datainf", "loss"):
        assert found[name][data.wrong].mean() > found[name][~data.wrong].mean(), name


def test_what_cannot_be_ranked() -> None:
    data = planted(7, 40)
    with pytest.raises(TaxonomyError, match="records that are not ranked"):
        purify(data.records, data.rows, (data.records[:8], data.rows[:8]))
    with pytest.raises(TaxonomyError, match="families that are not ranked, got 1 that are"):
        purify(data.records[:30], data.rows[:30], (data.records[30:], data.rows[30:]))
    ranked = purify(data.records, data.rows, strength=STRENGTH)
    assert [one.rank for one in ranked] == list(range(1, 41))
    harms = [one.harms["preference"] for one in ranked]
    assert harms == sorted(harms, reverse=True)
    assert {one.sha256 for one in ranked} == {record.sha256 for record in data.records}
