"""Tables and JSON objects of the measurements."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from stepguard.bench.agreement import Agreed
from stepguard.bench.fidelity import Comparison
from stepguard.bench.fidelity import Progress as Report
from stepguard.bench.growth import Point
from stepguard.bench.machine import Machine
from stepguard.bench.modes import Agreement
from stepguard.bench.neighbours import Case
from stepguard.bench.quality.bootstrap import Estimate
from stepguard.cli.show import console, plain


@contextmanager
def progress_bar(text: str) -> Iterator[Report]:
    """A bar on standard error; nothing is drawn where that is no terminal."""
    err = console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as bar:
        task = bar.add_task(plain(text), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def say(text: str) -> None:
    """A line on standard error: what is going on, for who waits."""
    console(stderr=True).print(plain(text), soft_wrap=True)


def megabytes(size: int) -> str:
    """Bytes as MB of a million, with a digit more where there are few."""
    return f"{size / 1e6:,.1f}" if abs(size) < 10_000_000 else f"{size / 1e6:,.0f}"


def machine_text(machine: Machine) -> str:
    """The machine for people, with a warning when it was busy."""
    lines = machine.lines()
    if machine.busy:
        lines.append("Other programs are running: times will be too long, and uneven.")
    return "\n".join(map(plain, lines))


def growth_table(points: Sequence[Point]) -> Table:
    """Median of each way, its range, and how many times longer the second takes."""
    first = points[0]
    table = Table(title=f"a step of {first.step} tokens + its verdict ({first.question} tokens)")
    table.add_column("context", justify="right")
    for name in ("step by step, ms", "read again, ms", "times longer"):
        table.add_column(name, justify="right")
    for point in points:
        table.add_row(
            f"{point.context:,}",
            _median_and_range(point.step_ms),
            _median_and_range(point.again_ms) if point.again_ms else "",
            "" if point.ratio is None else f"{point.ratio:.1f}",
        )
    return table


def _median_and_range(times: Sequence[float]) -> str:
    return f"{statistics.median(times):,.0f} ({min(times):,.0f} to {max(times):,.0f})"


def neighbours_table(cases: Sequence[Case]) -> Table:
    """Median alone and beside, their ranges, and how many times longer it takes beside."""
    table = Table(title="what a guard and the programs beside it cost each other")
    table.add_column("")
    for name in ("alone, ms", "beside, ms", "times longer", "at most"):
        table.add_column(name, justify="right")
    for case in cases:
        times = map(_median_and_range, (case.alone_ms, case.beside_ms))
        table.add_row(case.name, *times, f"{case.ratio:.3f}", f"{case.limit:g}")
    return table


def modes_table(rows: Sequence[Agreement]) -> Table:
    """One line for every two modes."""
    table = Table(title=f"modes of one guard over {rows[0].verdicts} questions")
    table.add_column("modes")
    for name in ("unavailable", "agree", "margins: correlation", "of ranks"):
        table.add_column(name, justify="right")
    for row in rows:
        numbers = (row.correlation, row.rank_correlation)
        table.add_row(
            f"{row.first} and {row.second}",
            f"{row.first_unavailable} and {row.second_unavailable}",
            f"{row.agree} of {row.both}",
            *("-" if number is None else f"{number:.4f}" for number in numbers),
        )
    return table


def fidelity_table(rows: Sequence[tuple[str, str, Comparison]]) -> Table:
    """One line for each (weights x activations, KV type, comparison)."""
    first = rows[0][2]
    table = Table(
        title=f"differences from float32 over {first.verdicts} verdicts "
        f"(its margins spread by {first.margin_spread:.2f})"
    )
    table.add_column("weights x rows")
    table.add_column("KV")
    for name in ("margin: mean", "95 %", "max", "shift", "logits: mean", "max", "flips"):
        table.add_column(name, justify="right")
    for weights, kv, c in rows:
        numbers = (
            c.margin_mean,
            c.margin_p95,
            c.margin_max,
            c.margin_bias,
            c.logit_mean,
            c.logit_max,
        )
        shown = [f"{number:.4f}" for number in numbers]
        table.add_row(weights, kv, *shown, f"{c.flips} of {c.verdicts}")
    return table


def agreement_table(rows: Sequence[tuple[str, str, Agreed, int]]) -> Table:
    """One line for each (weights x activations, KV type, agreement, bytes of the files)."""
    table = Table(title="at that threshold; in parentheses 95 % over families drawn again")
    table.add_column("weights x rows")
    table.add_column("KV")
    names = (
        "share that agrees",
        "of the nearest fifth",
        "margins shift by",
        "AUROC changes by",
        "MB",
    )
    for name in names:
        table.add_column(name, justify="right")
    for weights, kv, found, size in rows:
        shares = [with_interval(one, 3) for one in (found.agree, found.near)]
        area = "" if found.auroc is None else with_interval(found.auroc, 3, sign="+")
        shift = with_interval(found.shift, 3, sign="+")
        table.add_row(weights, kv, *shares, shift, area, f"{size / 1e6:.0f}")
    return table


def with_interval(estimate: Estimate, digits: int = 2, sign: str = "") -> str:
    """Its value and its interval, where it has one."""
    if estimate.value is None:
        return "-"
    text = f"{estimate.value:{sign}.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({estimate.low:{sign}.{digits}f} to {estimate.high:{sign}.{digits}f})"
