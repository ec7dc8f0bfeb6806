"""A logistic head as a function of its records, float64: gradients, curvature, exact influence.

The objective is the one that `probes.fit` gives to scikit-learn: the weighted sum of the log losses
plus |w|^2 / (2 strength), the intercept free.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from stepguard.heads import Head
from stepguard.train.points import Floats, Ints


@dataclass(frozen=True, eq=False)
class Logistic:
    """A fitted head on n prefixes. features: float64 [n, d], standardised, a column of ones last;
    labels: 0 or 1; weights: float64 [n], those of the fit; records: int64 [n], 0 to count - 1;
    theta: float64 [d]."""

    features: Floats
    labels: Ints
    weights: Floats
    records: Ints
    count: int
    theta: Floats
    strength: float

    @classmethod
    def of(
        cls,
        head: Head,
        features: Floats,
        labels: Ints,
        weights: Floats,
        records: Ints,
        count: int,
        strength: float,
    ) -> Logistic:
        """Of a head of one layer for two labels, and rows that are not standardised yet."""
        weight, bias = head.layers[0]
        rows = _rows(head, features)
        theta = np.concatenate([weight[0], bias])
        return cls(rows, labels, weights, records, count, theta, strength)

    @property
    def chances(self) -> Floats:
        """float64 [n]: the probability of label 1."""
        found: Floats = 1 / (1 + np.exp(-self.features @ self.theta))
        return found

    @property
    def losses(self) -> Floats:
        """float64 [count]: the weighted log loss of each record."""
        signed = np.where(self.labels == 1, 1, -1) * (self.features @ self.theta)
        each = self.weights * np.logaddexp(0, -signed)
        return np.bincount(self.records, each, self.count).astype(np.float64)

    @property
    def gradients(self) -> Floats:
        """float64 [count, d]: of the weighted log loss of each record."""
        each = (self.weights * (self.chances - self.labels))[:, None] * self.features
        found = np.zeros((self.count, len(self.theta)))
        np.add.at(found, self.records, each)
        return found

    @property
    def hessian(self) -> Floats:
        """float64 [d, d]: of the whole objective."""
        chances = self.chances
        curved = (self.weights * chances * (1 - chances))[:, None] * self.features
        penalty = np.full(len(self.theta), 1 / self.strength)
        penalty[-1] = 0
        found: Floats = self.features.T @ curved + np.diag(penalty)
        return found

    def target(self, head: Head, features: Floats, labels: Ints, weights: Floats) -> Floats:
        """float64 [d]: the gradient of the targets' weighted log loss."""
        rows = _rows(head, features)
        chances = 1 / (1 + np.exp(-rows @ self.theta))
        found: Floats = (weights * (chances - labels)) @ rows
        return found


def exact_harms(fitted: Logistic, target: Floats) -> Floats:
    """float64 [count]: how much lower the targets' loss would be without each record, to first
    order: - target . H^-1 . gradient (Koh and Liang 2017, equation 2; a removal is a weight of
    minus one). target: float64 [d], the gradient of the targets' loss."""
    away = cho_solve(cho_factor(fitted.hessian), target)
    found: Floats = -fitted.gradients @ away
    return found


def _rows(head: Head, features: Floats) -> Floats:
    rows = (features - head.mean) / head.scale
    return np.hstack([rows, np.ones((len(rows), 1))])
