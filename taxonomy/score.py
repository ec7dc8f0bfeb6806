"""Margin -> score -> status."""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import dataclass

from stepguard.errors import TaxonomyError
from stepguard.taxonomy.status import Status


@dataclass(frozen=True)
class Calibration:
    """score = sigmoid(scale * margin + bias), or the line through `knots` where there are any.

    From `low` up to `high` a verdict is unsure. knots: (margin, score), both ascending; outside of
    them the score stays that of the first or last one.

    >>> Calibration(1.0, 0.0, 0.2, 0.8, ((-1.0, 0.25), (1.0, 0.75))).score(0.0)
    0.5
    """

    scale: float
    bias: float
    low: float
    high: float
    knots: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if not (0 < self.scale < math.inf and math.isfinite(self.bias)):
            got = f"scale {self.scale}, bias {self.bias}"
            raise TaxonomyError("calibration", expected="a positive scale, a finite bias", got=got)
        if not 0 <= self.low <= self.high <= 1:
            got = f"{self.low}, {self.high}"
            raise TaxonomyError("calibration", expected="0 <= low <= high <= 1", got=got)
        pairs = itertools.pairwise(self.knots)
        rises = all(a < b and s <= t for (a, s), (b, t) in pairs)
        if not rises or not all(math.isfinite(m) and 0 <= s <= 1 for m, s in self.knots):
            raise TaxonomyError("calibration.knots", expected="rising pairs", got="others")

    def score(self, margin: float) -> float:
        """The score of a finite margin."""
        if not self.knots:
            return _sigmoid(self.scale * margin + self.bias)
        at = bisect.bisect_right(self.knots, margin, key=lambda knot: knot[0])
        if at in (0, len(self.knots)):
            return self.knots[min(at, len(self.knots) - 1)][1]
        (left, low), (right, high) = self.knots[at - 1 : at + 1]
        return low + (high - low) * (margin - left) / (right - left)


def judge(margin: float, calibration: Calibration | None = None) -> tuple[Status, float]:
    """Status and score (0 to 1, higher is less safe) of a finite margin.

    Without a calibration the score is the sigmoid of the margin, and from 0 up it is unsafe.

    >>> judge(-0.5)[0], judge(0.0)[0]
    (<Status.SAFE: 'safe'>, <Status.UNSAFE: 'unsafe'>)
    """
    if not math.isfinite(margin):
        raise TaxonomyError("margin", expected="a finite number", got=str(margin))
    if calibration is None:
        return (Status.UNSAFE if margin >= 0 else Status.SAFE), _sigmoid(margin)
    score = calibration.score(margin)
    if score < calibration.low:
        return Status.SAFE, score
    return (Status.UNSAFE if score >= calibration.high else Status.UNSURE), score


def _sigmoid(value: float) -> float:
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    power = math.exp(value)
    return power / (1.0 + power)
