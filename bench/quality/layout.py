"""The actions of labelled records in one row, and what a judge says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from stepguard.train import Record
from stepguard.train.points import Floats, Ints, label_steps

UNKNOWN = -1
Pool = Literal["max", "last"]


@dataclass(frozen=True, eq=False)
class Layout:
    """Every action of some records. int64 [actions]: record (index), step, unsafe (1, 0, or -1
    where the prefix that ends there has no label); before: the role of the step in front.

    int64 [records]: label (1 = unsafe), family (a number for each name), source (the same).
    """

    records: tuple[Record, ...]
    record: Ints
    step: Ints
    unsafe: Ints
    before: tuple[str, ...]
    label: Ints
    family: Ints
    source: Ints
    sources: tuple[str, ...]
    families: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Judged:
    """What one judge says: float64 [actions] and [records], NaN where it says nothing.

    Margins rank; scores are the probabilities that it gives; a score from `threshold` on stops the
    agent. facts: what goes into the report beside the name; lost: why records were not read.
    """

    name: str
    kind: Literal["guard", "cue"]
    margins: Floats
    scores: Floats
    whole_margins: Floats
    whole_scores: Floats
    threshold: float = 0.5
    facts: dict[str, str] = field(default_factory=dict)
    lost: tuple[str, ...] = ()


def lay_out(records: Sequence[Record]) -> Layout:
    """The layout of the records, in their order; one without an action has its end for one."""
    rows: list[tuple[int, int, int, str]] = []
    for i, record in enumerate(records):
        steps = record.trajectory.steps
        actions = [j for j, step in enumerate(steps) if step.is_action] or [len(steps) - 1]
        for step, label in zip(actions, label_steps(record, actions), strict=True):
            before = steps[step - 1].role if step else "nothing"
            rows.append((i, step, UNKNOWN if label is None else label, before))
    numbers = np.array([row[:3] for row in rows], np.int64).reshape(-1, 3)
    families = sorted({record.family for record in records})
    sources = sorted({record.source for record in records})
    return Layout(
        records=tuple(records),
        record=numbers[:, 0],
        step=numbers[:, 1],
        unsafe=numbers[:, 2],
        before=tuple(row[3] for row in rows),
        label=np.array([int(record.unsafe) for record in records], np.int64),
        family=_numbers([record.family for record in records], families),
        source=_numbers([record.source for record in records], sources),
        sources=tuple(sources),
        families=tuple(families),
    )


def pooled(layout: Layout, margins: Floats, pool: Pool = "max") -> Floats:
    """float64 [records] from float64 [actions], of which every record has one: the largest, or the
    last one. NaN where there is a NaN among them."""
    if pool == "last":
        return margins[np.searchsorted(layout.record, np.arange(len(layout.label)), "right") - 1]
    whole = np.full(len(layout.label), -np.inf)
    with np.errstate(invalid="ignore"):
        np.maximum.at(whole, layout.record, margins)
    return whole


def _numbers(values: Sequence[str], names: Sequence[str]) -> Ints:
    places = {name: i for i, name in enumerate(names)}
    return np.array([places[value] for value in values], np.int64)
