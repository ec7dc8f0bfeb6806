"""Scores from gradients alone, read in passes: for models too large for a matrix of curvature.

Gradients come as iterables that can be begun again: for each record a float64 [d] of every layer.
They are never held all at once, so that they need no more room than one record's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from stepguard.train.points import Floats

Layers = Sequence[Floats]
Gradients = Callable[[], Iterable[Layers]]
_DAMPING = 0.1


def datainf_harms(gradients: Gradients, target: Layers) -> Floats:
    """float64 [records]: harms by the closed form of DataInf (Kwon, Wu, Wu, Zou 2024).

    Layer by layer the inverse of the mean of g g^T + damping is taken for the mean of the inverses
    (their equation 5), which Sherman and Morrison's formula gives without a matrix; damping is 0.1
    of the mean of the squares of the gradients' entries, as theirs. target: of the targets' loss.
    """
    overlaps, squares = [], []
    for layers in gradients():
        overlaps.append([float(v @ g) for v, g in zip(target, layers, strict=True)])
        squares.append([float(g @ g) for g in layers])
    along, norms = np.array(overlaps), np.array(squares)  # [records, layers]
    sizes = np.array([len(layer) for layer in target])
    damping = _DAMPING * norms.mean(0) / sizes
    damping[damping == 0] = 1.0  # a layer that learns nothing tells nothing
    parts = along / (damping + norms) / len(norms)
    taken = [np.zeros(size) for size in sizes]
    for row, layers in zip(parts, gradients(), strict=True):
        for place, gradient in enumerate(layers):
            taken[place] += row[place] * gradient
    harms: Floats = -(along / damping).sum(1)
    for index, layers in enumerate(gradients()):
        harms[index] += sum(
            float(t @ g) / d for t, g, d in zip(taken, layers, damping, strict=True)
        )
    return harms


def preference_harms(gradients: Gradients, direction: Layers) -> Floats:
    """float64 [records]: minus the preference score of PRISM (2026), gradient . direction.

    direction: of `preference_direction`, or gathered in the same way. A step down a record's
    gradient moves the preference for the right answers up where the score is positive.
    """
    return np.array(
        [
            -sum(float(d @ g) for d, g in zip(direction, layers, strict=True))
            for layers in gradients()
        ]
    )


def preference_direction(
    right: Floats, wrong: Floats, right_logs: Floats, wrong_logs: Floats, weights: Floats
) -> Floats:
    """float64 [d]: the weighted mean over targets of pi (grad loss(right) - grad loss(wrong)).

    right, wrong: float64 [targets, d], gradients of the loss of the answer that finds what is there
    and of the one that misses it. right_logs, wrong_logs: float64 [targets], log likelihoods of the
    answers divided by their lengths in tokens; pi = p(right) / (p(right) + p(wrong)).
    """
    share = 1 / (1 + np.exp(wrong_logs - right_logs))
    found: Floats = ((weights * share) @ (right - wrong)) / weights.sum()
    return found
