"""Maps from margin to probability find a known miscalibration, and never see their own family."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from stepguard.errors import TaxonomyError
from stepguard.train.maps import METHODS, Fit, choose, fit, out_of_fold
from stepguard.train.metrics import bins, log_loss, quality
from stepguard.train.points import Points


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def points(scale: float, bias: float, n: int = 4_000, seed: int = 0) -> Points:
    rng = np.random.default_rng(seed)
    margins = rng.normal(0, 3, n)
    unsafe = (rng.random(n) < sigmoid(scale * margins + bias)).astype(np.int64)
    return Points(margins, unsafe, rng.uniform(0.2, 1, n), rng.integers(0, 40, n))


def test_the_best_fit_is_scipys() -> None:
    data = points(0.4, -1.0)

    def loss(x: np.ndarray) -> float:
        return log_loss(sigmoid(x[0] * data.margins + x[1]), data.unsafe, data.weights)

    best = minimize(loss, np.array([1.0, 0.0]), tol=1e-12)
    found = fit("platt", data)
    assert (found.scale, found.bias) == pytest.approx(tuple(best.x), abs=1e-4)
    assert (found.scale, found.bias) == pytest.approx((0.4, -1.0), abs=0.1)
    one = minimize(lambda x: loss(np.array([x[0], 0.0])), np.array([1.0]), tol=1e-12)
    assert fit("temperature", data).scale == pytest.approx(one.x[0], abs=1e-4)


def test_a_known_miscalibration_is_taken_back() -> None:
    data = points(0.3, -2.0)
    before = quality(sigmoid(data.margins), data.unsafe, data.weights)
    fitted, held_out, losses = choose(data)
    after = quality(held_out, data.unsafe, data.weights)
    assert before.ece > 0.2
    assert after.ece < 0.03
    assert after.brier < before.brier
    assert losses["platt"] < losses["temperature"]
    assert fitted.method in ("platt", "isotonic")


def test_isotonic_rises_and_keeps_away_from_certainty() -> None:
    fitted = fit("isotonic", points(1.0, 0.0, 200))
    grid = np.linspace(-20, 20, 4_001)
    scores = fitted.scores(grid)
    assert (np.diff(scores) >= 0).all()
    inside = [knot[0] for knot in fitted.knots]
    assert (np.diff(fitted.scores(np.array(inside))) > 0).all()
    assert 0 < scores.min() < scores.max() < 1


@pytest.mark.parametrize("method", METHODS)
def test_no_family_is_scored_by_a_map_that_saw_it(method: str) -> None:
    """A family of its own kind: fitted with it, it would be called right."""
    data = points(1.0, 0.0, 400)
    odd = data.families == 7
    unsafe = np.where(odd, (data.margins < 0).astype(np.int64), data.unsafe)
    changed = Points(data.margins, unsafe, data.weights, data.families)
    flipped = Points(data.margins, np.where(odd, 1 - unsafe, unsafe), data.weights, data.families)
    one, two = (out_of_fold(method, p)[odd] for p in (changed, flipped))  # type: ignore[arg-type]
    assert np.array_equal(one, two)


def test_margins_that_say_nothing_are_refused_by_name() -> None:
    data = points(1.0, 0.0)
    wrong = Points(-data.margins, data.unsafe, data.weights, data.families)
    with pytest.raises(TaxonomyError, match="cannot tell these data apart"):
        fit("platt", wrong)
    for one in (0, 1):
        same = Points(data.margins, np.full(len(data.margins), one), data.weights, data.families)
        with pytest.raises(TaxonomyError, match="one kind only"):
            choose(same)


def test_metrics_by_hand() -> None:
    scores, unsafe = np.array([0.1, 0.1, 0.9, 0.9]), np.array([0, 1, 1, 1])
    weights = np.array([3.0, 1.0, 2.0, 2.0])
    found = quality(scores, unsafe, weights)
    assert found.brier == pytest.approx((3 * 0.01 + 0.81 + 4 * 0.01) / 8)
    assert found.ece == pytest.approx(0.5 * abs(0.1 - 0.25) + 0.5 * abs(0.9 - 1.0))
    assert found.log_loss == pytest.approx(-(3 * np.log(0.9) + np.log(0.1) + 4 * np.log(0.9)) / 8)
    assert len(bins(scores, unsafe, weights)) == 2
    assert Fit("platt", 1.0, 0.0).scores(np.array([-np.inf, 0.0])) == pytest.approx([0.0, 0.5])
