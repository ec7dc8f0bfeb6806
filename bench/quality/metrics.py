"""How well margins and scores fit to labels, and the same for many weightings at once.

`measure` asks scikit-learn. `replicates` gives the same numbers for every row of a matrix of
weights in one sweep over the sorted margins, since a bootstrap needs them a thousand times.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    roc_auc_score,
    roc_curve,
)

from stepguard.train.metrics import BINS, quality
from stepguard.train.points import Floats, Ints

NAMES = ("auroc", "auprc", "f1", "balanced_accuracy", "fnr_at_1", "fnr_at_5", "ece", "brier")
RANKING = NAMES[:6]  # they mean nothing where there is only one class
FALSE_ALARMS = {"fnr_at_1": 0.01, "fnr_at_5": 0.05}
_MOST_CELLS = 1 << 21  # of a block of weights: 16 MiB

Bools = npt.NDArray[np.bool_]


def measure(
    margins: Floats, scores: Floats, unsafe: Ints, threshold: float
) -> dict[str, float | None]:
    """All of NAMES for float64 [n] margins and scores against int64 [n] labels (1 = unsafe).

    None where a metric means nothing: no rows, or for those that compare the classes only one. F1
    and balanced accuracy call unsafe what has a score from `threshold` on; ECE has ten bins of
    equal width; fnr_at_1 is the lowest share of misses with at most 1 % false alarms.
    """
    found: dict[str, float | None] = dict.fromkeys(NAMES)
    if len(unsafe) == 0:
        return found
    found["ece"] = quality(scores, unsafe, np.ones(len(unsafe))).ece
    found["brier"] = float(brier_score_loss(unsafe, scores, pos_label=1))
    if len(np.unique(unsafe)) < 2:
        return found
    called = scores >= threshold
    false_alarms, hits, _ = roc_curve(unsafe, margins, drop_intermediate=False)
    found["auroc"] = float(roc_auc_score(unsafe, margins))
    found["auprc"] = float(average_precision_score(unsafe, margins))
    found["f1"] = float(f1_score(unsafe, called))
    found["balanced_accuracy"] = float(balanced_accuracy_score(unsafe, called))
    for name, most in FALSE_ALARMS.items():
        found[name] = float(1 - hits[false_alarms <= most].max())
    return found


def replicates(
    margins: Floats, scores: Floats, unsafe: Ints, threshold: float, weights: Floats
) -> dict[str, Floats]:
    """float64 [replicates] of each of NAMES, for weights float64 [replicates, n].

    NaN where a row of weights leaves one class, or nothing.
    """
    order = np.argsort(-margins, kind="stable")
    ranked, ordered, y = margins[order], scores[order], unsafe[order].astype(np.float64)
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    rows = max(1, _MOST_CELLS // max(1, len(y)))
    parts = [
        _block(ordered, y, ends, threshold, weights[begin : begin + rows][:, order])
        for begin in range(0, len(weights), rows)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in NAMES}


def _block(
    scores: Floats, y: Floats, ends: Ints, threshold: float, weights: Floats
) -> dict[str, Floats]:
    if not len(y):
        return {name: np.full(len(weights), np.nan) for name in NAMES}
    called = scores >= threshold
    with np.errstate(divide="ignore", invalid="ignore"):
        found = _ranking(
            np.cumsum(weights * y, axis=1)[:, ends], np.cumsum(weights * (1 - y), axis=1)[:, ends]
        )
        positive, negative = weights @ y, weights @ (1 - y)
        hits, alarms = weights @ (y * called), weights @ ((1 - y) * called)
        found["f1"] = 2 * hits / (positive + hits + alarms)
        found["balanced_accuracy"] = (hits / positive + 1 - alarms / negative) / 2
        for name in RANKING:
            found[name] = np.where((positive > 0) & (negative > 0), found[name], np.nan)
        total = weights.sum(axis=1)
        found["brier"] = weights @ (scores - y) ** 2 / total
        bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
        inside = (bins[:, None] == np.arange(BINS)).astype(np.float64)
        found["ece"] = np.abs(weights @ (inside * (scores - y)[:, None])).sum(axis=1) / total
    return found


def _ranking(hits: Floats, alarms: Floats) -> dict[str, Floats]:
    """From weights above each distinct margin, both float64 [replicates, margins]."""
    positive, negative = hits[:, -1], alarms[:, -1]
    new_hits = np.diff(hits, axis=1, prepend=0)
    new_alarms = np.diff(alarms, axis=1, prepend=0)
    area = (new_alarms * (hits - new_hits / 2)).sum(axis=1)
    precision = np.where(hits > 0, hits / (hits + alarms), 0)
    found = {
        "auroc": area / (positive * negative),
        "auprc": (new_hits * precision).sum(axis=1) / positive,
    }
    for name, most in FALSE_ALARMS.items():
        allowed = alarms / negative[:, None] <= most
        found[name] = 1 - np.where(allowed, hits, 0).max(axis=1) / positive
    return found
