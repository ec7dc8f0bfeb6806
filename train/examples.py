"""What heads are fitted on: hidden rows with labels, weights, and the units that are kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stepguard.errors import TaxonomyError
from stepguard.manifest import Target
from stepguard.train.points import Floats, Ints, label_steps, number_families
from stepguard.train.records import Record
from stepguard.train.rows import RecordRows


@dataclass(frozen=True, eq=False)
class Examples:
    """n labelled prefixes: features float64 [n, width], the others int64 or float64 [n].

    labels are places in `names`; each trajectory's weights add up to 1; steps are the indices of
    the prefixes' last steps; sources are places in `source_names`.
    """

    features: Floats
    labels: Ints
    weights: Floats
    families: Ints
    sources: Ints
    steps: Ints
    names: tuple[str, ...]
    source_names: tuple[str, ...]

    def at(self, chosen: np.ndarray) -> Examples:
        """Some of them, by a mask or by places."""
        return replace(
            self,
            features=self.features[chosen],
            labels=self.labels[chosen],
            weights=self.weights[chosen],
            families=self.families[chosen],
            sources=self.sources[chosen],
            steps=self.steps[chosen],
        )

    def compact(self) -> tuple[Examples, Ints]:
        """The same with only the labels that occur, and their old places: int64 [labels]."""
        there, labels = np.unique(self.labels, return_inverse=True)
        names = tuple(self.names[place] for place in there)
        return replace(self, labels=labels.astype(np.int64), names=names), there

    def positions(self) -> Examples:
        """The same with nothing but the place of the step to learn from."""
        place = np.log1p(self.steps.astype(np.float64))
        return replace(self, features=np.stack([place, place**2], axis=1))

    @property
    def balanced(self) -> Floats:
        """float64 [n]: the weights, such that all labels weigh the same and the sum stays."""
        sums = np.bincount(self.labels, self.weights, len(self.names))
        share = self.weights.sum() / max(np.count_nonzero(sums), 1)
        balanced: Floats = self.weights * share / sums[self.labels]
        return balanced


def label_rows(
    records: Sequence[Record], rows: Sequence[RecordRows], target: Target = "verdict"
) -> Examples:
    """The labelled prefixes of all records that have rows.

    For the verdict as in `points.label_points`: a prefix is unsafe from the first unsafe step on,
    and safe before it; of unsafe trajectories without a known one only the end counts. For a
    dimension: the unsafe prefixes of the records that are labelled in it.

    Raises:
        TaxonomyError: fewer than two labels.
    """
    families = number_families(records)
    sources = sorted({record.source for record in records})
    found: list[tuple[np.ndarray, str, float, int, int, int]] = []
    for record, one, family in zip(records, rows, families, strict=True):
        places = _labels(record, one, target)
        found += [
            (one.rows[place], label, 1 / len(places), family, sources.index(record.source), step)
            for place, label, step in places
        ]
    names = tuple(sorted({label for _, label, *_ in found}))
    if len(names) < 2:
        got = f"only {names[0]}" if names else "none"
        raise TaxonomyError(
            f"labels of {target}", expected="at least two", got=got, fix="Give more records."
        )
    columns = list(zip(*found, strict=True))
    return Examples(
        features=np.array(columns[0], np.float64),
        labels=np.array([names.index(label) for label in columns[1]], np.int64),
        weights=np.array(columns[2], np.float64),
        families=np.array(columns[3], np.int64),
        sources=np.array(columns[4], np.int64),
        steps=np.array(columns[5], np.int64),
        names=names,
        source_names=tuple(sources),
    )


def _labels(record: Record, rows: RecordRows, target: Target) -> list[tuple[int, str, int]]:
    """Place, label and step of each labelled prefix."""
    labels, found = label_steps(record, rows.steps), []
    for place, (step, unsafe) in enumerate(zip(rows.steps, labels, strict=True)):
        if target == "verdict":
            label = None if unsafe is None else ("safe", "unsafe")[unsafe]
        else:
            label = record.label_of(target) if unsafe else None
        if label is not None:
            found.append((place, label, step))
    return found
