"""Every judge on every group of records: metrics, intervals, and what is above the best cue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from stepguard.bench.quality.bootstrap import Estimate, draw_families, estimated
from stepguard.bench.quality.layout import UNKNOWN, Judged, Layout
from stepguard.bench.quality.metrics import NAMES, Bools, measure, replicates
from stepguard.train.points import Floats, Ints
from stepguard.train.records import DIMENSIONS

Level = Literal["action", "trajectory"]
LEVELS: tuple[Level, ...] = ("action", "trajectory")
ALL, MEAN = "all", "mean of sources"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Above:
    """A guard's AUROC less that of the best cue, on the same draws of families."""

    cue: str
    difference: Estimate


@dataclass(frozen=True)
class Row:
    """One judge on one group. by: "all", "source", "mean" or a dimension of the taxonomy. over: of
    a guard, its AUROC less that of each other judge, on the same draws of families."""

    by: str
    name: str
    level: Level
    judge: str
    count: int
    unsafe: int
    families: int
    metrics: dict[str, Estimate]
    above: Above | None
    over: dict[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class _Group:
    """int64 [points] of one level, the sources they come from, and numbers for the report."""

    by: str
    name: str
    level: Level
    points: Ints
    labels: Ints
    families: int


@dataclass(frozen=True, eq=False)
class _Found:
    """Values and replicates of one judge on one group."""

    values: dict[str, float | None]
    drawn: dict[str, Floats]


def evaluate(
    layout: Layout,
    judges: Sequence[Judged],
    draws: int,
    seed: int,
    progress: Progress | None = None,
) -> list[Row]:
    """A row for each group, level and judge, on the points that all judges have a margin for."""
    families = draw_families(layout, np.arange(len(layout.label)), draws, seed)
    usable = _usable(layout, judges)
    rows: list[Row] = []
    parts: dict[Level, list[tuple[_Group, list[_Found]]]] = {level: [] for level in LEVELS}
    groups = [group for level in LEVELS for group in _groups(layout, level, usable[level])]
    for done, group in enumerate(groups):
        if progress is not None:
            progress(done, len(groups))
        found = [_judge(layout, judge, group, families) for judge in judges]
        rows += _rows(group, judges, found)
        if group.by == "source":
            parts[group.level].append((group, found))
    for level, sources in parts.items():
        if len(sources) > 1:
            rows += _mean(level, sources, judges)
    return rows


def _usable(layout: Layout, judges: Sequence[Judged]) -> dict[Level, Bools]:
    known = layout.unsafe != UNKNOWN
    return {
        "action": np.logical_and.reduce([known, *(np.isfinite(j.margins) for j in judges)]),
        "trajectory": np.logical_and.reduce([np.isfinite(j.whole_margins) for j in judges]),
    }


def _groups(layout: Layout, level: Level, usable: Bools) -> list[_Group]:
    whole = np.arange(len(layout.label))
    record, labels = (layout.record, layout.unsafe) if level == "action" else (whole, layout.label)

    def group(by: str, name: str, inside: Bools) -> _Group:
        points = np.flatnonzero(inside[record] & usable)
        families = len(np.unique(layout.family[record[points]]))
        return _Group(by, name, level, points, labels[points], families)

    found = [group("all", ALL, np.ones(len(whole), np.bool_))]
    found += [group("source", name, layout.source == i) for i, name in enumerate(layout.sources)]
    for dimension in DIMENSIONS:
        for label, inside in label_groups(layout, dimension):
            found.append(group(dimension, label, inside))
    return [one for one in found if len(one.points)]


def label_groups(layout: Layout, dimension: str) -> list[tuple[str, Bools]]:
    """For each label of a dimension bool [records]: the unsafe records that have it, and all safe
    ones of the same sources."""
    labels = [dict(r.labels).get(dimension) if r.unsafe else None for r in layout.records]
    found = []
    for label in sorted({name for name in labels if name is not None}):
        with_it = np.array([name == label for name in labels])
        near = np.isin(layout.source, layout.source[with_it]) & (layout.label == 0)
        found.append((label, with_it | near))
    return found


def _judge(layout: Layout, judge: Judged, group: _Group, families: Floats) -> _Found:
    action = group.level == "action"
    points = group.points
    margins = (judge.margins if action else judge.whole_margins)[points]
    scores = (judge.scores if action else judge.whole_scores)[points]
    records = layout.record[points] if action else points
    weights = families[:, layout.family[records]]
    return _Found(
        measure(margins, scores, group.labels, judge.threshold),
        replicates(margins, scores, group.labels, judge.threshold, weights),
    )


def _rows(group: _Group, judges: Sequence[Judged], found: Sequence[_Found]) -> list[Row]:
    return [
        Row(
            group.by,
            group.name,
            group.level,
            judge.name,
            len(group.points),
            int(group.labels.sum()),
            group.families,
            {n: estimated(one.values[n], one.drawn[n], group.families) for n in NAMES},
            _above(judge, one, judges, found, group.families),
            {} if judge.kind == "cue" else _over(one, judges, found, group.families),
        )
        for judge, one in zip(judges, found, strict=True)
    ]


def _over(
    own: _Found, judges: Sequence[Judged], found: Sequence[_Found], families: int
) -> dict[str, Estimate]:
    return {
        other.name: _difference(own, one, families)
        for other, one in zip(judges, found, strict=True)
        if one is not own
    }


def _difference(own: _Found, other: _Found, families: int) -> Estimate:
    """Of two AUROCs; nothing where one of them means nothing."""
    mine, theirs = own.values["auroc"], other.values["auroc"]
    if mine is None or theirs is None:
        return Estimate(None)
    return estimated(mine - theirs, own.drawn["auroc"] - other.drawn["auroc"], families)


def _above(
    judge: Judged,
    own: _Found,
    judges: Sequence[Judged],
    found: Sequence[_Found],
    families: int,
) -> Above | None:
    """None for cues, and where there is nothing to compare."""
    cues = [
        (cue.name, theirs, one)
        for cue, one in zip(judges, found, strict=True)
        if cue.kind == "cue" and (theirs := one.values["auroc"]) is not None
    ]
    if judge.kind == "cue" or own.values["auroc"] is None or not cues:
        return None
    name, _, best = max(cues, key=lambda cue: cue[1])
    return Above(name, _difference(own, best, families))


def _mean(
    level: Level, sources: Sequence[tuple[_Group, list[_Found]]], judges: Sequence[Judged]
) -> list[Row]:
    """Every source counts the same, and its name, a cue of its own, counts nothing."""
    groups = [group for group, _ in sources]
    group = _Group(
        "mean",
        MEAN,
        level,
        np.concatenate([one.points for one in groups]),
        np.concatenate([one.labels for one in groups]),
        sum(one.families for one in groups),
    )
    found = [_mean_of([one[i] for _, one in sources]) for i in range(len(judges))]
    return _rows(group, judges, found)


def _mean_of(parts: Sequence[_Found]) -> _Found:
    values: dict[str, float | None] = {}
    drawn: dict[str, Floats] = {}
    for name in NAMES:
        known = [
            (value, part.drawn[name]) for part in parts if (value := part.values[name]) is not None
        ]
        values[name] = float(np.mean([value for value, _ in known])) if known else None
        drawn[name] = np.mean([each for _, each in known], axis=0) if known else np.empty(0)
    return _Found(values, drawn)
