"""Whether a quantised guard says what its float32 export says, at the threshold that counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stepguard.bench.fidelity import Floats, Margins
from stepguard.bench.quality.bootstrap import Estimate, estimated
from stepguard.bench.samples import Sample
from stepguard.errors import TrajectoryError
from stepguard.taxonomy import Calibration, Status, judge
from stepguard.train.records import family_of

LEAST = 0.25  # of the verdicts, that each class should have
NEAR = 0.2  # of the verdicts: those nearest to the threshold
_DRAWS = 500
_FAR = 1e9  # beyond any margin of a guard

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Agreed:
    """agree: share of the verdicts on the same side of the threshold; near: the same among the
    fifth nearest to it; shift: mean signed difference of margins; auroc: of the labelled verdicts,
    the change from the reference; None where they are of one class, or none is labelled."""

    agree: Estimate
    near: Estimate
    shift: Estimate
    auroc: Estimate | None

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return dataclasses.asdict(self)


def stops(margins: Floats, calibration: Calibration | None) -> Bools:
    """bool [verdicts]: which are not safe by a calibration, or without one not below 0."""
    return np.array([judge(float(one), calibration)[0] is not Status.SAFE for one in margins])


def threshold_of(calibration: Calibration | None) -> float:
    """The least margin that is not safe; infinite where none is, minus that where all are."""
    if calibration is None:
        return 0.0
    low, high = -_FAR, _FAR
    if not stops(np.array([high]), calibration)[0]:
        return float("inf")
    if stops(np.array([low]), calibration)[0]:
        return float("-inf")
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if stops(np.array([middle]), calibration)[0] else (middle, high)
    return high


def balanced(reference: Margins, calibration: Calibration | None) -> list[int]:
    """Places of trajectories in which each class has a quarter of the reference's verdicts: those
    with the smallest share of the rarer class are left out, of equal ones the last first.

    Raises:
        TrajectoryError: no trajectory has a quarter of the rarer class.
    """
    stopped = stops(reference.margins, calibration)
    larger = bool(stopped.mean() > 0.5)
    places = np.arange(int(reference.owners.max()) + 1)
    counts = np.bincount(reference.owners, minlength=len(places))
    others = np.bincount(reference.owners, stopped != larger, len(places))
    kept = np.ones(len(places), np.bool_)
    for place in sorted(places, key=lambda one: (others[one] / counts[one], -one)):
        if others[kept].sum() >= LEAST * counts[kept].sum():
            break
        kept[place] = False
    if not kept.any():
        word = "safe" if larger else "not safe"
        raise TrajectoryError(
            "--balance",
            expected=f"trajectories with a quarter of the reference's verdicts {word}",
            got=f"none; {int(others.sum())} of all {int(counts.sum())} verdicts are",
            fix="Give more data, or a larger --limit.",
        )
    return [int(place) for place in places[kept]]


def agreement(
    reference: Margins,
    other: Margins,
    samples: Sequence[Sample],
    calibration: Calibration | None,
    seed: int = 0,
) -> Agreed:
    """Of the verdicts of both on the same questions, at one threshold."""
    same = stops(reference.margins, calibration) == stops(other.margins, calibration)
    border = threshold_of(calibration)
    distance = np.abs(reference.margins - np.clip(border, -_FAR, _FAR))
    near = np.zeros(len(same), np.bool_)
    near[np.argsort(distance, kind="stable")[: max(1, round(NEAR * len(same)))]] = True
    families = _families(reference, samples)
    count, weights = len(np.unique(families)), _draws(families, seed)
    shift = other.margins - reference.margins
    return Agreed(
        agree=_mean(same, weights, count),
        near=_mean(same[near], weights[:, near], count),
        shift=_mean(shift, weights, count),
        auroc=_auroc_change(reference, other, weights, count),
    )


def _families(reference: Margins, samples: Sequence[Sample]) -> Ints:
    """int64 [verdicts]: a number for each family, as records have them; a trajectory without one
    stands alone."""
    names: dict[str, int] = {}
    numbers = []
    for place, sample in enumerate(samples):
        name = family_of(sample.value, str(sample.value.get("source") or ""), f"#{place}")
        numbers.append(names.setdefault(name, len(names)))
    return np.array(numbers, np.int64)[reference.owners]


def _draws(families: Ints, seed: int) -> Floats:
    """float64 [draws, verdicts]: how often each is drawn with its family."""
    kinds, places = np.unique(families, return_inverse=True)
    shares = np.full(len(kinds), 1 / len(kinds))
    counts = np.random.default_rng(seed).multinomial(len(kinds), shares, size=_DRAWS)
    return counts[:, places].astype(np.float64)


def _mean(values: Bools | Floats, weights: Floats, families: int) -> Estimate:
    totals = weights.sum(1)
    with np.errstate(invalid="ignore"):  # a draw in which none of them is has no mean
        drawn = (weights @ values) / totals
    return estimated(float(np.mean(values)), drawn, families)


def _auroc_change(
    reference: Margins, other: Margins, weights: Floats, families: int
) -> Estimate | None:
    known = reference.labels >= 0
    labels = reference.labels[known]
    if len(np.unique(labels)) < 2:
        return None
    before, after = reference.margins[known], other.margins[known]
    from sklearn.metrics import roc_auc_score  # only here: it is an extra's, and slow to import

    def change(weight: Floats | None) -> float:
        areas = [roc_auc_score(labels, one, sample_weight=weight) for one in (after, before)]
        return float(areas[0] - areas[1])

    rows = weights[:, known]
    both = (rows[:, labels == 0].sum(1) > 0) & (rows[:, labels == 1].sum(1) > 0)
    drawn = np.full(len(rows), np.nan)
    drawn[both] = [change(row) for row in rows[both]]
    return estimated(change(None), drawn, families)
