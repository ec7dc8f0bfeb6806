"""The table and the picture of step verdicts beside other engines."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from stepguard.bench.latency.measure import OURS, Case
from stepguard.bench.machine import Machine
from stepguard.bench.plot import describe, grouped_bars, name_beside, picture
from stepguard.bench.report import megabytes


def engines_text(versions: Mapping[str, str], missing: Mapping[str, str]) -> str:
    """A line for all that was measured, and one for each that was not, with the reason."""
    there = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join([there, *(f"not measured: {n} ({why})" for n, why in missing.items())])


def engines_of(cases: Sequence[Case]) -> list[str]:
    """Every engine that was measured, ours first."""
    return [OURS, *dict.fromkeys(name for case in cases for name in case.peers)]


def latency_table(cases: Sequence[Case], title: str) -> Table:
    """Median milliseconds of every engine, and how many times longer the best peer takes."""
    table = Table(title=f"{title}: milliseconds, median (range)")
    table.add_column("case")
    names = engines_of(cases)
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("floor (reached)", justify="right")
    table.add_column("best peer: times longer", justify="right")
    for case in cases:
        cells = [_spread(case.times[name]) if name in case.times else "" for name in names]
        share = "" if case.share is None else f"{case.floor_ms:,.0f} ({case.share:.0%})"
        table.add_row(case.name, *cells, share, _ratio(case))
    return table


def profile_table(cases: Sequence[Case]) -> Table:
    """Where a step's time goes in ours: milliseconds of each operation, and the least possible."""
    table = Table(title="ours, operation by operation: milliseconds of one run (the floor)")
    table.add_column("case")
    profiles = [case for case in cases if case.profile is not None]
    names = list(dict.fromkeys(name for case in profiles for name in case.profile or ()))
    names = [*(name for name in names if name != "all"), "outside"]
    for name in (*names, "all"):
        table.add_column(name, justify="right")
    for case in profiles:
        spent, least = dict(case.profile or {}), case.floor or {}
        whole = spent.pop("all")
        spent["outside"] = whole - sum(spent.values())
        cells = [
            f"{spent.get(name, 0.0):,.1f}" + (f" ({least[name]:,.1f})" if name in least else "")
            for name in names
        ]
        table.add_row(case.name, *cells, f"{whole:,.0f}")
    return table


def memory_table(memory: Mapping[str, Mapping[str, int]]) -> Table:
    """Resident MB of each engine's process, and how much of it ours has."""
    table = Table(title="resident MB at the end, the same tokenizer loaded in each process")
    table.add_column("engine")
    for name in ("resident", "the most", "ours, of it"):
        table.add_column(name, justify="right")
    for name, sizes in memory.items():
        share = memory[OURS]["resident"] / sizes["resident"]
        own = "" if name == OURS else f"{share:.2f}"
        table.add_row(name, megabytes(sizes["resident"]), megabytes(sizes["peak"]), own)
    return table


def plot_latency(cases: Sequence[Case], machine: Machine, title: str, path: Path) -> None:
    """Bars of the medians, a group for each case."""
    bars = {
        name: [case.median(name) if name in case.times else None for case in cases]
        for name in engines_of(cases)
    }
    with picture(path) as axes:
        turned = 0 if len(cases) < 6 else 20
        grouped_bars(axes, [case.name for case in cases], bars, turned=turned)
        axes.set_yscale("log")
        axes.set_ylabel("milliseconds")
        describe(axes, title, machine)
        name_beside(axes)


def _spread(times: Sequence[float]) -> str:
    if len(times) == 1:
        return f"{times[0]:,.0f}"
    return f"{statistics.median(times):,.0f} ({min(times):,.0f} to {max(times):,.0f})"


def _ratio(case: Case) -> str:
    best = case.best_peer
    if best is None:
        return ""
    ratio = case.median(best) / case.median(OURS)
    low, high = min(case.ratios), max(case.ratios)
    return f"{ratio:.2f} ({low:.2f} to {high:.2f}), {best}"
