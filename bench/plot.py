"""A picture of the growth measurement."""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepguard.bench.growth import Point
from stepguard.bench.machine import Machine
from stepguard.extras import needs


def need_matplotlib(module: str = "matplotlib") -> Any:
    """Imports a module of matplotlib; StepguardError that says what to install without it."""
    with needs("bench", "--plot", "the package matplotlib"):
        return importlib.import_module(module)


def plot_growth(points: Sequence[Point], machine: Machine, file: Path) -> None:
    """Both ways over the context, medians as lines, ranges as bars; the file's ending says the
    format."""
    figure = need_matplotlib("matplotlib.figure").Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    steps = [(point.context, point.step_ms) for point in points]
    again = [(point.context, point.again_ms) for point in points if point.again_ms]
    for name, line in (
        ("read everything again", again),
        (f"a step of {points[0].step} tokens", steps),
    ):
        contexts = [context for context, _ in line]
        series = [times for _, times in line]
        medians = list(map(statistics.median, series))
        below = [middle - min(times) for middle, times in zip(medians, series, strict=True)]
        above = [max(times) - middle for middle, times in zip(medians, series, strict=True)]
        axes.errorbar(contexts, medians, yerr=[below, above], marker="o", capsize=3, label=name)
    axes.set(xlabel="context, tokens", ylabel="milliseconds to the verdict", ylim=(0, None))
    axes.set_title("\n".join(machine.lines()), fontsize=8)
    axes.legend()
    figure.savefig(file, dpi=120)
