"""Fitting one head: standardise, weigh the labels alike, then scikit-learn."""

from __future__ import annotations

import warnings
from typing import Literal

from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from stepguard.heads import Head
from stepguard.train.examples import Examples

Kind = Literal["logistic", "mlp"]
UNITS = 32
# The inverse of the penalty on the weights, beside a sum of losses in which a trajectory weighs 1.
STRENGTHS: dict[Kind, tuple[float, ...]] = {
    "logistic": (1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
    "mlp": (1e-4, 1e-2, 1.0),
}


def fit(kind: Kind, examples: Examples, strength: float) -> Head:
    """A head for the examples; the same ones give the same bits, on any number of cores.

    strength: the inverse of the penalty. With two labels the output is the logit of the second,
    with more there is one for each.
    """
    weights = examples.balanced
    with threadpool_limits(1):
        scaler = StandardScaler().fit(examples.features, sample_weight=weights)
        rows = scaler.transform(examples.features)
        if kind == "logistic":
            model = LogisticRegression(C=strength, tol=1e-6, max_iter=3000)
            model.fit(rows, examples.labels, sample_weight=weights)
            layers = [(model.coef_, model.intercept_)]
        else:
            model = MLPClassifier(
                (UNITS,), solver="lbfgs", alpha=1 / strength, max_iter=300, random_state=0
            )
            with warnings.catch_warnings():
                # Where it has not converged, it was stopped early, which is a penalty of its own.
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(rows, examples.labels, sample_weight=weights)
            pairs = zip(model.coefs_, model.intercepts_, strict=True)
            layers = [(weight.T, bias) for weight, bias in pairs]
    return Head(scaler.mean_, scaler.scale_, tuple(layers))
