"""How good probabilities are: log loss, Brier score, expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stepguard.train.points import Floats, Ints

BINS = 10


@dataclass(frozen=True)
class Quality:
    """Weighted means over labelled prefixes."""

    log_loss: float
    brier: float
    ece: float


@dataclass(frozen=True)
class Bin:
    """One bar of a reliability diagram: mean score, share of unsafe ones, share of the weight."""

    score: float
    unsafe: float
    weight: float


def quality(scores: Floats, unsafe: Ints, weights: Floats) -> Quality:
    """All three of scores float64 [n] against labels int64 [n] (1 = unsafe)."""
    return Quality(
        log_loss(scores, unsafe, weights),
        float(np.average((scores - unsafe) ** 2, weights=weights)),
        sum(bin_.weight * abs(bin_.score - bin_.unsafe) for bin_ in bins(scores, unsafe, weights)),
    )


def log_loss(scores: Floats, unsafe: Ints, weights: Floats) -> float:
    """Mean negative log likelihood in nats; scores are kept 1e-12 away from 0 and 1."""
    clipped = np.clip(scores, 1e-12, 1 - 1e-12)
    losses = -np.log(np.where(unsafe == 1, clipped, 1 - clipped))
    return float(np.average(losses, weights=weights))


def bins(scores: Floats, unsafe: Ints, weights: Floats) -> list[Bin]:
    """Ten bins of equal width over the scores (Guo et al. 2017); empty ones are left out."""
    place = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    total = weights.sum()
    found = []
    for number in range(BINS):
        inside = place == number
        weight = float(weights[inside].sum())
        if weight > 0:
            score = float(np.average(scores[inside], weights=weights[inside]))
            share = float(np.average(unsafe[inside], weights=weights[inside]))
            found.append(Bin(score, share, weight / float(total)))
    return found
