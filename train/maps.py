"""From margin to probability: temperature, Platt or isotonic, chosen by cross-validation.

temperature: p = sigmoid(scale m). platt: p = sigmoid(scale m + bias) (Platt 1999). isotonic: the
monotone step function of pool adjacent violators (Zadrozny and Elkan 2002), here as the line
through its steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from stepguard.errors import TaxonomyError
from stepguard.taxonomy import Calibration
from stepguard.train.metrics import log_loss
from stepguard.train.points import Floats, Points

Method = Literal["temperature", "platt", "isotonic"]
METHODS: tuple[Method, ...] = ("temperature", "platt", "isotonic")
_FOLDS = 5
# Isotonic steps are made to rise a little, so that no two margins have one score; and they stay
# away from 0 and 1, which no finite number of examples can show.
_RISE, _EDGE = 1e-6, 1e-3


@dataclass(frozen=True, eq=False)
class Fit:
    """A map of margins to scores. knots: (margin, score) of a piecewise linear one, else empty."""

    method: Method
    scale: float = 1.0
    bias: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()

    def scores(self, margins: Floats) -> Floats:
        """float64 [n] -> float64 [n], by the code of inference."""
        map_ = Calibration(self.scale, self.bias, 0.0, 1.0, self.knots)
        # A trajectory without an action that counts has the margin -inf.
        finite = np.clip(margins, -1e30, 1e30)
        return np.array([map_.score(float(margin)) for margin in finite], np.float64)


def fit(method: Method, points: Points) -> Fit:
    """Fits one method on labelled margins.

    Raises:
        TaxonomyError: one label only, or the margin does not rise with the risk.
    """
    if len(set(points.unsafe.tolist())) < 2:
        raise TaxonomyError("labels", expected="safe and unsafe prefixes", got="one kind only")
    if method == "isotonic":
        return _isotonic(points)
    model = LogisticRegression(C=np.inf, fit_intercept=method == "platt", tol=1e-8, max_iter=1000)
    model.fit(points.margins[:, None], points.unsafe, sample_weight=points.weights)
    scale = float(model.coef_[0, 0])
    bias = float(model.intercept_[0]) if method == "platt" else 0.0
    if not scale > 1e-6:
        raise TaxonomyError(
            "calibration",
            expected="margins that are larger where the label is unsafe",
            got=f"a slope of {scale:.3g}",
            fix="This guard cannot tell these data apart: train a head, or take another guard.",
        )
    return Fit(method, scale, bias)


def _isotonic(points: Points) -> Fit:
    model = IsotonicRegression(y_min=_EDGE, y_max=1 - _EDGE, out_of_bounds="clip")
    model.fit(points.margins, points.unsafe, sample_weight=points.weights)
    margins, scores = model.X_thresholds_, model.y_thresholds_
    rise = _RISE * np.arange(len(margins)) / max(len(margins) - 1, 1)
    knots = tuple(zip(margins.tolist(), (scores + rise).tolist(), strict=True))
    return Fit("isotonic", knots=knots)


def out_of_fold(method: Method, points: Points) -> Floats:
    """float64 [n]: each point scored by a map that was fitted without its family.

    Raises what `fit` raises, and TaxonomyError for fewer families than two.
    """
    scores = np.empty(len(points.margins), np.float64)
    for train, test in _folds(points):
        scores[test] = fit(method, _some(points, train)).scores(points.margins[test])
    return scores


def choose(
    points: Points, methods: tuple[Method, ...] = METHODS
) -> tuple[Fit, Floats, dict[Method, float]]:
    """The method with the least out-of-fold log loss, fitted on all; its scores; all losses.

    A method that cannot be fitted is left out. Raises TaxonomyError when none can.
    """
    found: dict[Method, Floats] = {}
    errors: list[TaxonomyError] = []
    for method in methods:
        try:
            fit(method, points)
            found[method] = out_of_fold(method, points)
        except TaxonomyError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    losses = {m: log_loss(s, points.unsafe, points.weights) for m, s in found.items()}
    best = min(losses, key=lambda method: losses[method])
    return fit(best, points), found[best], losses


def _folds(points: Points) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    families = len(set(points.families.tolist()))
    if families < 2:
        raise TaxonomyError("families", expected="at least 2", got=str(families))
    splitter = GroupKFold(min(_FOLDS, families))
    yield from splitter.split(points.margins, points.unsafe, points.families)


def _some(points: Points, rows: np.ndarray) -> Points:
    return Points(
        points.margins[rows], points.unsafe[rows], points.weights[rows], points.families[rows]
    )
