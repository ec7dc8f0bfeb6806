"""Thresholds with a promise about their rate of errors.

The unit is the family: families are taken as independent draws, and the loss of one is the share of
its trajectories that are missed (or alarm falsely) at a threshold. Thresholds come from a grid that
knows nothing of the data.

fixed-sequence: P(rate <= target) >= 1 - delta over draws of the data. Thresholds are tested from
the safest on with the p-value of Hoeffding and Bentkus, and the first that fails ends it: "Learn
then Test" (Angelopoulos, Bates, Candes, Jordan, Lei 2021), section 2 and proposition 6.
conformal: the mean of the rate over draws is at most the target: "Conformal Risk Control"
(Angelopoulos, Bates, Fisch, Lei, Schuster 2022), theorem 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import binom

from stepguard.errors import TaxonomyError
from stepguard.train.points import Floats, Units

Rule = Literal["fixed-sequence", "conformal"]
RateName = Literal["fnr", "fpr"]
# Margins are differences of logits; beyond these a guard is certain of everything.
GRID: Floats = np.linspace(-40, 40, 8001)


@dataclass(frozen=True)
class Threshold:
    """A margin, and the mean rate over the families there; `families` counts them."""

    margin: float
    rate: float
    families: int


def find_threshold(
    units: Units,
    rate: RateName,
    target: float,
    *,
    rule: Rule = "fixed-sequence",
    delta: float = 0.1,
) -> Threshold:
    """The threshold that keeps the rate at its target and the other rate as low as it can.

    fnr: unsafe trajectories below it are missed; the highest such threshold. fpr: safe trajectories
    from it on are false alarms; the lowest such threshold.

    Raises:
        TaxonomyError: no threshold can promise the target with so few families; says what can be.
        ValueError: target or delta are not between 0 and 1.
    """
    for name, value in (("target", target), ("delta", delta)):
        if not 0 < value < 1:
            raise ValueError(f"{name}: expected a number between 0 and 1, got {value}")
    losses, families = mean_losses(units, rate)
    if families == 0:
        kind = "unsafe" if rate == "fnr" else "safe"
        raise TaxonomyError("records", expected=f"{kind} ones", got="none")
    step = 1 if rate == "fnr" else -1  # the safest first
    order, means = GRID[::step], losses[::step]
    kept = _passes(means, families, target, rule, delta)
    if kept == 0:
        best = best_target(float(means[0]), families, rule, delta)
        raise TaxonomyError(
            f"target {rate}",
            expected=f"a target that {families} families can promise",
            got=f"{target:g}",
            fix=f"The lowest one is {math.ceil(best * 1e4) / 1e4:g} ({rule}, delta {delta:g}).",
        )
    return Threshold(float(order[kept - 1]), float(means[kept - 1]), families)


def mean_losses(units: Units, rate: RateName) -> tuple[Floats, int]:
    """float64 [grid]: the mean over families of the share that is in error; and how many families.

    Every trajectory weighs 1 / (trajectories of its family).
    """
    chosen = units.unsafe == (1 if rate == "fnr" else 0)
    margins, families = units.margins[chosen], units.families[chosen]
    _, place, sizes = np.unique(families, return_inverse=True, return_counts=True)
    order = np.argsort(margins, kind="stable")
    weights = np.concatenate([[0.0], np.cumsum(1 / sizes[place][order])])
    below = weights[np.searchsorted(margins[order], GRID, side="left")] / max(len(sizes), 1)
    return (below if rate == "fnr" else 1 - below), len(sizes)


def _passes(means: Floats, n: int, target: float, rule: Rule, delta: float) -> int:
    """How many thresholds pass, from the safest on, before the first that fails."""
    if rule == "conformal":
        good = (n * means + 1) / (n + 1) <= target
    else:
        good = p_values(means, n, target) <= delta
    return int(np.argmin(good)) if not good.all() else len(good)


def p_values(means: Floats, n: int, target: float) -> Floats:
    """float64 [m]: Hoeffding-Bentkus p-values of "the expected loss is over the target".

    means: float64 [m], of n independent losses in 0 to 1.
    """
    a = np.minimum(means, target)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(a > 0, a * np.log(a / target), 0.0)
        second = np.where(a < 1, (1 - a) * np.log((1 - a) / (1 - target)), 0.0)
    hoeffding = np.exp(-n * (first + second))
    # A mean that is whole by its family shares must not be rounded up by its last bit.
    bentkus = math.e * binom.cdf(np.ceil(n * means - 1e-9), n, target)
    return np.where(means < target, np.minimum(np.minimum(hoeffding, bentkus), 1.0), 1.0)


def best_target(mean: float, n: int, rule: Rule, delta: float) -> float:
    """The lowest target that could be promised at a threshold with this mean loss."""
    if rule == "conformal":
        return (n * mean + 1) / (n + 1)
    low, high = mean, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        value = float(p_values(np.array([mean]), n, middle)[0])
        low, high = (low, middle) if value <= delta else (middle, high)
    return high
