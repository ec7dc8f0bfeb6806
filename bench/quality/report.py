"""The tables of `bench quality`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from stepguard.bench.quality.alarms import ROLES, Alarms
from stepguard.bench.quality.bootstrap import Estimate
from stepguard.bench.quality.evaluate import ALL, MEAN, Level, Row
from stepguard.bench.quality.metrics import NAMES
from stepguard.bench.report import with_interval
from stepguard.cli.show import plain
from stepguard.train.records import DIMENSIONS

_HEADS = ("AUROC (95 %)", "AUPRC", "F1", "bal. acc.", "FNR at 1 %", "at 5 %", "ECE", "Brier")
_LEVELS = {"action": "actions", "trajectory": "trajectories"}
_AT = {"own": "own", "fpr5": "5 %"}


def number(estimate: Estimate, digits: int = 3) -> str:
    """Its value; a dash for what means nothing."""
    return "-" if estimate.value is None else f"{estimate.value:.{digits}f}"


def judges_table(rows: Sequence[Row], level: Level) -> Table:
    """Every judge with all metrics, over all records and as the mean of the sources."""
    chosen = [row for row in rows if row.level == level and row.by in ("all", "mean")]
    first = next(iter(chosen))
    counts = f"{first.count:,} {_LEVELS[level]}, {first.unsafe:,} unsafe"
    table = Table(title=f"{counts}, {first.families} families")
    table.add_column("judge", overflow="fold")
    for head in _HEADS:
        table.add_column(head, justify="right")
    for name in (ALL, MEAN):
        part = [row for row in chosen if row.name == name]
        if name == MEAN and part:
            table.add_section()
            table.add_row("mean of sources:")
        for row in part:
            shown = [number(row.metrics[metric]) for metric in NAMES[1:]]
            table.add_row(plain(row.judge), with_interval(row.metrics["auroc"], 3), *shown)
    return table


def groups_table(rows: Sequence[Row], level: Level, guard: str, cues: Sequence[str]) -> Table:
    """AUROC of a guard and of cues by source and by label, and what is above the best of all."""
    chosen = [row for row in rows if row.level == level]
    table = Table(title=f"{plain(guard)}: AUROC by source and label, {_LEVELS[level]}")
    table.add_column("group", overflow="fold")
    for head in ("unsafe of", "AUROC (95 %)", "above best cue"):
        table.add_column(head, justify="right", no_wrap=True)
    for cue in cues:
        table.add_column(plain(cue), justify="right")
    seen = "all"
    for group in sorted(dict.fromkeys((row.by, row.name) for row in chosen), key=_place):
        by, name = group
        part = {row.judge: row for row in chosen if (row.by, row.name) == group}
        if by in DIMENSIONS and by != seen:
            table.add_section()
            table.add_row(f"{by}:")
        seen, own = by, part[guard]
        table.add_row(
            plain(name),
            f"{own.unsafe:,} of {own.count:,}",
            with_interval(own.metrics["auroc"]),
            "-" if own.above is None else with_interval(own.above.difference, 2, "+"),
            *(number(part[cue].metrics["auroc"], 2) for cue in cues),
        )
    return table


def over_table(rows: Sequence[Row], guard: str) -> Table:
    """A guard's AUROC of trajectories less that of every other judge, over all and by source."""
    chosen = [
        row
        for row in rows
        if row.judge == guard and row.level == "trajectory" and row.by not in DIMENSIONS
    ]
    table = Table(title=f"{plain(guard)}: AUROC of trajectories above that of each other judge")
    table.add_column("judge", overflow="fold")
    for row in chosen:
        table.add_column(plain(row.name), justify="right")
    for other in next(iter(chosen)).over:
        shown = [with_interval(row.over[other], 2, "+") for row in chosen]
        table.add_row(plain(other), *shown)
    return table


def _place(group: tuple[str, str]) -> int:
    """All, the sources, their mean, then the labels; else as they come."""
    order = ("all", "source", "mean", *DIMENSIONS)
    return order.index(group[0])


def alarms_table(found: Sequence[Alarms]) -> Table:
    """What is stopped, when, and for nothing, at both thresholds of every judge."""
    counts = "trajectories stopped; of unsafe ones with a known first step early/in time/late/never"
    table = Table(title=f"{counts}; actions of delay; false alarms per 100 safe actions")
    table.add_column("judge", overflow="fold")
    table.add_column("at")
    for head in ("unsafe", "safe", "e/i/l/n", "delay"):
        table.add_column(head, justify="right")
    roles = [role for role in ROLES if any(one.actions[role] for one in found)]
    for role in ("all", *roles):
        head = "per 100" if role == "all" else f"after {role}"
        table.add_column(head, justify="right")
    for one in found:
        delay = one.delay
        times = f"{delay.early}/{delay.in_time}/{delay.late}/{delay.never}"
        table.add_row(
            plain(one.judge),
            _AT[one.at],
            _percent(one.caught),
            _percent(one.stopped),
            times if delay.known else "-",
            "-" if delay.mean is None else f"{delay.mean:.1f}",
            *(number(one.per_100[role], 1) for role in ("all", *roles)),
        )
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"
