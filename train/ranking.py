"""How well scores tell unsafe prefixes from safe ones: AUROC, at equal positions too, with an
interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stepguard.train.points import Floats, Ints

_DRAWS = 400


@dataclass(frozen=True)
class Interval:
    """A value, and the middle 95 % of it over draws of the families; null where it has no value."""

    value: float | None
    low: float | None = None
    high: float | None = None


def pairs(scores: Floats, unsafe: Ints, weights: Floats) -> tuple[Floats, Floats]:
    """The weight of pairs of an unsafe and a safe prefix in the right order, and of all pairs.

    Equal scores count half (Mann-Whitney); a pair weighs the product of its weights. weights:
    float64 [..., n]; the results: float64 [...].
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    bad, good = (
        np.add.reduceat((weights * part)[..., order], starts, axis=-1)
        for part in (unsafe, 1 - unsafe)
    )
    below = np.cumsum(good, axis=-1) - good
    return (bad * (below + good / 2)).sum(-1), bad.sum(-1) * good.sum(-1)


def auroc(scores: Floats, unsafe: Ints, weights: Floats) -> Floats:
    """Share of the pairs in the right order, float64 [...]; NaN without any."""
    return matched_auroc(scores, unsafe, weights, np.zeros_like(unsafe))


def matched_auroc(scores: Floats, unsafe: Ints, weights: Floats, steps: Ints) -> Floats:
    """The same over pairs at the same step: what the position says cannot help."""
    right = total = np.zeros(weights.shape[:-1])
    for step in np.unique(steps):
        at = steps == step
        one, all_ = pairs(scores[at], unsafe[at], weights[..., at])
        right, total = right + one, total + all_
    return _divided(right, total)


def _divided(value: Floats, by: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(by > 0, value / by, np.nan)


def draw_weights(weights: Floats, families: Ints, seed: int) -> Floats:
    """float64 [draws, n]: weights where the families were drawn with replacement; always alike."""
    _, place = np.unique(families, return_inverse=True)
    count = int(place.max(initial=-1)) + 1
    rng = np.random.default_rng(seed)
    times = rng.multinomial(count, np.full(count, 1 / max(count, 1)), _DRAWS)
    drawn: Floats = weights * times[:, place]
    return drawn


def interval(value: float, draws: Floats) -> Interval:
    """float64 [draws] around a value; draws without a value are left out."""
    if not np.isfinite(value):
        return Interval(None)
    there = draws[np.isfinite(draws)]
    low, high = np.percentile(there, [2.5, 97.5]) if len(there) else (value, value)
    return Interval(float(value), float(low), float(high))


def recall(chosen: Ints, labels: Ints, weights: Floats) -> Floats:
    """The share of right answers, as a mean over the labels that are there; NaN without any.

    weights: float64 [..., n]; the result: float64 [...].
    """
    right = count = np.zeros(weights.shape[:-1])
    for label in np.unique(labels):
        at = labels == label
        share = _divided(weights[..., at] @ (chosen[at] == label), weights[..., at].sum(-1))
        right, count = right + np.nan_to_num(share), count + np.isfinite(share)
    return _divided(right, count)
