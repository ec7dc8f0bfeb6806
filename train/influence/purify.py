"""Records in the order of the harm that they do to a head on frozen hidden rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stepguard.errors import TaxonomyError
from stepguard.train.examples import Examples, label_rows
from stepguard.train.heads import choose, family_folds, ranked
from stepguard.train.influence import METHODS, By
from stepguard.train.influence.closed import (
    datainf_harms,
    preference_direction,
    preference_harms,
)
from stepguard.train.influence.logistic import Logistic, exact_harms
from stepguard.train.points import Floats, Ints, label_steps
from stepguard.train.probes import fit
from stepguard.train.records import Record
from stepguard.train.rows import RecordRows


@dataclass(frozen=True)
class Ranked:
    """A record and what the methods say of it: harms, of which the first orders the list."""

    rank: int
    name: str
    sha256: str
    source: str
    family: str
    label: int
    harms: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def purify(
    records: Sequence[Record],
    rows: Sequence[RecordRows],
    targets: tuple[Sequence[Record], Sequence[RecordRows]] | None = None,
    by: By = METHODS[0],
    strength: float | None = None,
) -> list[Ranked]:
    """All records that have labelled rows, the most harmful first.

    targets: records whose loss counts, with their rows. Without them the records are their own: in
    turn a fifth of the families is held out, the head is fitted on the others, and a record's harm
    is the mean over the folds that it was fitted in. strength: of the head; None for the one that
    does best on held-out sources, or families.

    Raises:
        TaxonomyError: fewer than two labels or families, or targets of records, or families, that
            are ranked.
    """
    if targets is not None:
        check_apart(records, targets[0])
    examples, owners = label_rows(records, rows), owners_of(records, rows)
    if strength is None:
        strength = choose("logistic", examples, ranked)[0]
    goal = None if targets is None else label_rows(*targets)
    found = harms_of(examples, owners, len(records), strength, goal)
    order = np.argsort(-found[by], kind="stable")
    chosen = [int(one) for one in order if np.isfinite(found[by][one])]
    return [
        Ranked(
            rank=rank,
            name=records[one].name,
            sha256=records[one].sha256,
            source=records[one].source,
            family=records[one].family,
            label=int(records[one].unsafe),
            harms={name: float(values[one]) for name, values in found.items()},
        )
        for rank, one in enumerate(chosen, start=1)
    ]


def check_apart(records: Sequence[Record], targets: Sequence[Record]) -> None:
    """Raises TaxonomyError for targets that are ranked themselves, or are of a family that is."""
    shared = {
        "records": {one.sha256 for one in records} & {one.sha256 for one in targets},
        "families": {one.family for one in records} & {one.family for one in targets},
    }
    for what, both in shared.items():
        if both:
            expected, got = f"{what} that are not ranked", f"{len(both)} that are"
            raise TaxonomyError("targets", expected=expected, got=got)


def owners_of(records: Sequence[Record], rows: Sequence[RecordRows]) -> Ints:
    """int64 [prefixes]: the place of each prefix's record, in the order of `label_rows`."""
    counts = [
        sum(label is not None for label in label_steps(record, one.steps))
        for record, one in zip(records, rows, strict=True)
    ]
    return np.repeat(np.arange(len(records)), counts)


def harms_of(
    examples: Examples, owners: Ints, count: int, strength: float, goal: Examples | None
) -> dict[By, Floats]:
    """By method float64 [count]; NaN for records without a labelled prefix."""
    sums = {name: np.zeros(count) for name in METHODS}
    times = np.zeros(count)
    for part, own, targets in _splits(examples, owners, goal):
        there = np.unique(own)
        places = np.searchsorted(there, own)
        harms = _harms(part, places.astype(np.int64), len(there), strength, targets)
        for name, values in harms.items():
            sums[name][there] += values
        times[there] += 1
    with np.errstate(divide="ignore", invalid="ignore"):
        return {name: np.where(times > 0, total / times, np.nan) for name, total in sums.items()}


def _splits(
    examples: Examples, owners: Ints, goal: Examples | None
) -> Iterator[tuple[Examples, Ints, Examples]]:
    if goal is not None:
        yield examples, owners, goal
        return
    for fitted, judged in family_folds(examples):
        yield examples.at(fitted), owners[fitted], examples.at(judged)


def _harms(
    part: Examples, owners: Ints, count: int, strength: float, goal: Examples
) -> dict[By, Floats]:
    if len(np.unique(part.labels)) < 2:
        raise TaxonomyError("labels", expected="two in every fold", got="one")
    head = fit("logistic", part, strength)
    weights = part.balanced
    fitted = Logistic.of(head, part.features, part.labels, weights, owners, count, strength)
    target = fitted.target(head, goal.features, goal.labels, goal.balanced)
    gradients = fitted.gradients
    direction = _direction(fitted, head, goal)

    def passes() -> Iterator[list[Floats]]:
        return ([row] for row in gradients)

    return {
        "exact": exact_harms(fitted, target),
        "datainf": datainf_harms(passes, [target]),
        "preference": preference_harms(passes, [direction]),
        "loss": fitted.losses,
    }


def _direction(fitted: Logistic, head: Any, goal: Examples) -> Floats:
    """The preference direction of single answers: right is the label, wrong the other one."""
    rows = np.hstack([(goal.features - head.mean) / head.scale, np.ones((len(goal.labels), 1))])
    logits = rows @ fitted.theta
    chances = 1 / (1 + np.exp(-logits))
    signs = np.where(goal.labels == 1, 1, -1)
    right = (chances - goal.labels)[:, None] * rows
    wrong = (chances - (1 - goal.labels))[:, None] * rows
    logs = -np.logaddexp(0, -signs * logits), -np.logaddexp(0, signs * logits)
    return preference_direction(right, wrong, *logs, goal.balanced)
