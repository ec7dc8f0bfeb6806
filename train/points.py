"""What scores are held against: labelled prefixes to fit on, whole trajectories to count misses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stepguard.train.records import Record
from stepguard.train.scores import Scored

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Points:
    """Labelled prefixes. All float64 or int64 [n]; each trajectory's weights add up to 1."""

    margins: Floats
    unsafe: Ints
    weights: Floats
    families: Ints


@dataclass(frozen=True, eq=False)
class Units:
    """Whole trajectories, float64 or int64 [n]: the largest margin that counts, and the family.

    Of an unsafe one: over its actions up to the first unsafe step where that is known, else up to
    the end; it is missed below the threshold. Of a safe one: over all; it is a false alarm from the
    threshold on.
    """

    margins: Floats
    unsafe: Ints
    families: Ints


def label_points(records: Sequence[Record], scored: Sequence[Scored]) -> Points:
    """A prefix is unsafe from the first unsafe step on, and safe before it.

    Of unsafe trajectories without a known first step only the end is labelled. Records without any
    margin are left out.
    """
    numbers = number_families(records)
    rows: list[tuple[float, int, float, int]] = []
    for record, one, family in zip(records, scored, numbers, strict=True):
        labelled = _labels(record, one)
        rows += [(m, label, 1 / len(labelled), family) for m, label in labelled]
    table = np.array(rows, np.float64).reshape(-1, 4)
    return Points(
        table[:, 0], table[:, 1].astype(np.int64), table[:, 2], table[:, 3].astype(np.int64)
    )


def label_steps(record: Record, steps: Sequence[int]) -> list[int | None]:
    """The label of the prefix that ends at each of the steps; None where it is not known."""
    if not record.unsafe:
        return [0 for _ in steps]
    if record.first_unsafe is None:
        return [1 if i == len(steps) - 1 else None for i in range(len(steps))]
    return [int(step >= record.first_unsafe) for step in steps]


def _labels(record: Record, scored: Scored) -> list[tuple[float, int]]:
    labels = label_steps(record, scored.steps)
    pairs = zip(scored.margins, labels, strict=True)
    return [(margin, label) for margin, label in pairs if label is not None]


def whole_units(records: Sequence[Record], scored: Sequence[Scored]) -> Units:
    """The trajectories that have a margin, as units."""
    numbers = number_families(records)
    rows = []
    for record, one, family in zip(records, scored, numbers, strict=True):
        counted = [
            margin
            for step, margin in zip(one.steps, one.margins, strict=True)
            if record.first_unsafe is None or step <= record.first_unsafe
        ]
        if one.margins:
            rows.append((max(counted, default=-np.inf), int(record.unsafe), family))
    table = np.array(rows, np.float64).reshape(-1, 3)
    return Units(table[:, 0], table[:, 1].astype(np.int64), table[:, 2].astype(np.int64))


def number_families(records: Sequence[Record]) -> list[int]:
    """A number for each record's family, in the order of their names."""
    names = {name: i for i, name in enumerate(sorted({record.family for record in records}))}
    return [names[record.family] for record in records]


def safe_actions(records: Sequence[Record], scored: Sequence[Scored]) -> Floats:
    """float64 [n]: the margins at all actions that are known to be safe, one weight each."""
    return np.array(
        [
            margin
            for record, one in zip(records, scored, strict=True)
            for margin, label in _labels(record, one)
            if not label
        ],
        np.float64,
    )
