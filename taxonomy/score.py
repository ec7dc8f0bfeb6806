"""Margin -> score -> status."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stepguard.errors import TaxonomyError
from stepguard.taxonomy.status import Status


@dataclass(frozen=True)
class Calibration:
    """score = sigmoid(scale * margin + bias); from `low` up to `high` a verdict is unsure."""

    scale: float
    bias: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not (0 < self.scale < math.inf and math.isfinite(self.bias)):
            got = f"scale {self.scale}, bias {self.bias}"
            raise TaxonomyError("calibration", expected="a positive scale, a finite bias", got=got)
        if not 0 <= self.low <= self.high <= 1:
            got = f"{self.low}, {self.high}"
            raise TaxonomyError("calibration", expected="0 <= low <= high <= 1", got=got)


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
    score = _sigmoid(calibration.scale * margin + calibration.bias)
    if score < calibration.low:
        return Status.SAFE, score
    return (Status.UNSAFE if score >= calibration.high else Status.UNSURE), score


def _sigmoid(value: float) -> float:
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    power = math.exp(value)
    return power / (1.0 + power)
