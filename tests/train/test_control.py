"""Promises hold over redraws of the data, clustered ones too; a target out of reach is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from stepguard.errors import TaxonomyError
from stepguard.train.control import (
    GRID,
    RateName,
    best_target,
    find_threshold,
    mean_losses,
    p_values,
)
from stepguard.train.points import Units

DRAWS = 1000


def draw(rng: np.random.Generator, families: int, unsafe: int) -> Units:
    """Families of 1 to 8 trajectories that share most of their margin: far from independent."""
    sizes = rng.integers(1, 9, families)
    centre = np.repeat(rng.normal(1.0, 2.0, families), sizes)
    margins = centre + rng.normal(0, 0.5, len(centre))
    numbers = np.repeat(np.arange(families), sizes)
    return Units(margins, np.full(len(margins), unsafe), numbers)


def true_rates(rng: np.random.Generator, rate: RateName) -> np.ndarray:
    """The rate at every threshold of the grid, over as good as all families that there are."""
    return mean_losses(draw(rng, 4_000, int(rate == "fnr")), rate)[0]


def place(threshold: float) -> int:
    return int(np.argmin(np.abs(GRID - threshold)))


@pytest.mark.parametrize("rate", ["fnr", "fpr"])
def test_fixed_sequences_keep_their_promise(rate: RateName) -> None:
    rng = np.random.default_rng(1)
    unsafe, target, delta = int(rate == "fnr"), 0.1, 0.2
    truth = true_rates(rng, rate)
    rates = [
        truth[place(find_threshold(draw(rng, 60, unsafe), rate, target, delta=delta).margin)]
        for _ in range(DRAWS)
    ]
    assert (np.array(rates) > target).mean() <= delta
    assert np.mean(rates) > target / 4  # and it is not kept by stopping everything


def test_conformal_thresholds_keep_the_mean() -> None:
    rng = np.random.default_rng(2)
    truth, target = true_rates(rng, "fnr"), 0.1
    rates = [
        truth[place(find_threshold(draw(rng, 60, 1), "fnr", target, rule="conformal").margin)]
        for _ in range(DRAWS)
    ]
    # Three standard errors of 1,000 draws, and of the 4,000 families of the truth.
    assert 0.07 < np.mean(rates) <= target + 3 * np.std(rates) / DRAWS**0.5 + 0.01


def test_thresholds_without_the_correction_break_the_promise() -> None:
    """What the tests above would say of the plain quantile of the data."""
    rng = np.random.default_rng(3)
    truth, target, delta = true_rates(rng, "fnr"), 0.1, 0.2
    means = [mean_losses(draw(rng, 60, 1), "fnr")[0] for _ in range(300)]
    rates = [truth[int(np.argmin(mean <= target)) - 1] for mean in means]
    assert (np.array(rates) > target).mean() > delta


def test_p_values_are_those_of_the_paper() -> None:
    """Of a mean of 0 both parts have a closed form; Bentkus's is e times the binomial tail."""
    n, target = 40, 0.1
    assert p_values(np.array([0.0]), n, target)[0] == pytest.approx((1 - target) ** n)
    mean = 2 / n
    expected = min(
        np.e * binom.cdf(2, n, target),
        np.exp(-n * (mean * np.log(mean / target) + (1 - mean) * np.log((1 - mean) / 0.9))),
    )
    assert p_values(np.array([mean]), n, target)[0] == pytest.approx(expected)
    assert p_values(np.array([0.2]), n, target)[0] == 1


@pytest.mark.parametrize("rule", ["fixed-sequence", "conformal"])
def test_a_target_out_of_reach_is_refused_with_the_best_one(rule: str) -> None:
    units = Units(np.arange(10.0), np.ones(10, np.int64), np.arange(10))
    with pytest.raises(TaxonomyError, match=r"The lowest one is 0\.\d+") as caught:
        find_threshold(units, "fnr", 0.01, rule=rule)  # type: ignore[arg-type]
    best = float(str(caught.value).split("The lowest one is ")[1].split(" ")[0])
    find_threshold(units, "fnr", best, rule=rule)  # type: ignore[arg-type]
    with pytest.raises(TaxonomyError):
        find_threshold(units, "fnr", best - 0.001, rule=rule)  # type: ignore[arg-type]
    assert best_target(0.0, 10, rule, 0.1) <= best  # type: ignore[arg-type]


def test_the_safest_threshold_that_suffices_is_not_taken_but_the_last() -> None:
    units = Units(np.arange(100.0) / 10, np.ones(100, np.int64), np.arange(100))
    found = find_threshold(units, "fnr", 0.2, rule="conformal")
    assert found.rate == pytest.approx(0.19)
    assert found.margin == pytest.approx(1.9, abs=0.011)
    safe = Units(units.margins, np.zeros(100, np.int64), units.families)
    alarm = find_threshold(safe, "fpr", 0.2, rule="conformal")
    assert alarm.rate == pytest.approx(0.19)
    assert alarm.margin == pytest.approx(8.0, abs=0.011)


def test_the_mean_is_that_of_the_families() -> None:
    units = draw(np.random.default_rng(4), 12, 1)
    plain = []
    for family in range(12):
        own = units.margins[units.families == family]
        plain.append([(own < threshold).mean() for threshold in GRID])
    means, families = mean_losses(units, "fnr")
    assert families == 12
    np.testing.assert_allclose(means, np.mean(plain, axis=0), atol=1e-12)


@pytest.mark.parametrize("wrong", [0.0, 1.0, -1.0, float("nan")])
def test_targets_that_are_none(wrong: float) -> None:
    with pytest.raises(ValueError, match="target"):
        find_threshold(Units(np.ones(1), np.ones(1, np.int64), np.zeros(1)), "fnr", wrong)
