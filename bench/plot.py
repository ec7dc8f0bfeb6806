"""A picture of the growth measurement."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepguard.bench.growth import Point
from stepguard.bench.machine import Machine
from stepguard.errors import StepguardError


def need_matplotlib(module: str = "matplotlib") -> Any:
    """Imports a module of matplotlib; StepguardError that says what to install without it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise StepguardError(
            "--plot",
            expected="the package matplotlib",
            got=str(error),
            fix="Type: pip install 'stepguard[bench]'",
        ) from error


def plot_growth(points: Sequence[Point], machine: Machine, file: Path) -> None:
    """Writes a PNG: both ways over the context, medians as lines, ranges as bars."""
    figure = need_matplotlib("matplotlib.figure").Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    contexts = [point.context for point in points]
    for name, medians, series in (
        (
            "read everything again",
            [point.again_median for point in points],
            [point.again_ms for point in points],
        ),
        (
            f"a step of {points[0].step} tokens",
            [point.step_median for point in points],
            [point.step_ms for point in points],
        ),
    ):
        below = [middle - min(times) for middle, times in zip(medians, series, strict=True)]
        above = [max(times) - middle for middle, times in zip(medians, series, strict=True)]
        axes.errorbar(contexts, medians, yerr=[below, above], marker="o", capsize=3, label=name)
    axes.set(xlabel="context, tokens", ylabel="milliseconds to the verdict", ylim=(0, None))
    axes.set_title("\n".join(machine.lines()), fontsize=8)
    axes.legend()
    figure.savefig(file, format="png", dpi=120)
