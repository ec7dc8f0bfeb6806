"""What pictures of measurements are drawn with, and the picture of growth."""

from __future__ import annotations

import importlib
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stepguard.bench.growth import Point
from stepguard.bench.machine import Machine
from stepguard.extras import needs
from stepguard.harmless import plain, plain_lines

# The same numbers are the same bytes, and a name with dollars is no formula.
_STYLE = {"svg.hashsalt": "stepguard", "text.parse_math": False}


def need_matplotlib(module: str = "matplotlib") -> Any:
    """Imports a module of matplotlib; StepguardError that says what to install without it."""
    with needs("bench", "--plot", "the package matplotlib"):
        return importlib.import_module(module)


def check_plot(file: Path | None) -> None:
    """Call it before anything is measured.

    Raises:
        StepguardError: a picture is wanted and matplotlib is not there.
    """
    if file is not None:
        need_matplotlib()


@contextmanager
def picture(
    file: Path, *, size: tuple[float, float] = (9, 5), rows: int = 1, columns: int = 1
) -> Iterator[Any]:
    """Axes to draw on, or an array of rows or columns of them; the file is written at the end, in
    the format that its ending says. size: inches.

    Raises:
        StepguardError: matplotlib is not there.
    """
    with need_matplotlib().rc_context(_STYLE):
        figure = need_matplotlib("matplotlib.figure").Figure(figsize=size, layout="constrained")
        yield figure.subplots(rows, columns)
        metadata = {"Date": None} if file.suffix == ".svg" else {}
        figure.savefig(file, dpi=120, metadata=metadata)


def describe(axes: Any, title: str, machine: Machine) -> None:
    """Says above the axes what is drawn, and what it was measured on."""
    axes.set_title("\n".join(map(plain, [title, *machine.lines()])), fontsize=8)


def name_beside(axes: Any) -> None:
    """The names of what is drawn, beside the axes, where they hide nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)


def grouped_bars(
    axes: Any,
    groups: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    turned: float = 0,
) -> None:
    """A group of bars for each name, with a bar of each series that has a value there. turned:
    degrees, of long names."""
    width = 0.8 / len(series)
    for index, (name, values) in enumerate(series.items()):
        places = [i + (index - (len(series) - 1) / 2) * width for i in range(len(groups))]
        heights = [math.nan if value is None else value for value in values]
        axes.bar(places, heights, width, label=plain(name))
    style = {"rotation": turned, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    axes.set_xticks(range(len(groups)), list(map(plain, groups)), **style)


def stacked_bars(axes: Any, names: Sequence[str], parts: Mapping[str, Sequence[float]]) -> None:
    """A bar that lies for each name, the first on top, its parts one after the other. What is below
    nothing has no length."""
    colours = need_matplotlib().colormaps["tab20"]
    ends = [0.0] * len(names)
    for index, (part, values) in enumerate(parts.items()):
        lengths = [max(0.0, value) for value in values]
        axes.barh(range(len(names)), lengths, left=ends, label=plain(part), color=colours(index))
        ends = [end + length for end, length in zip(ends, lengths, strict=True)]
    axes.set_yticks(range(len(names)), list(map(plain_lines, names)))
    axes.invert_yaxis()
    name_beside(axes)


def plot_growth(points: Sequence[Point], machine: Machine, file: Path) -> None:
    """Both ways over the context, medians as lines, ranges as bars."""
    steps = [(point.context, point.step_ms) for point in points]
    again = [(point.context, point.again_ms) for point in points if point.again_ms]
    title = f"a step of {points[0].step} tokens"
    with picture(file) as axes:
        for name, line in (("read everything again", again), (title, steps)):
            contexts = [context for context, _ in line]
            series = [times for _, times in line]
            medians = list(map(statistics.median, series))
            below = [middle - min(times) for middle, times in zip(medians, series, strict=True)]
            above = [max(times) - middle for middle, times in zip(medians, series, strict=True)]
            axes.errorbar(contexts, medians, yerr=[below, above], marker="o", capsize=3, label=name)
        axes.set(xlabel="context, tokens", ylabel="milliseconds to the verdict", ylim=(0, None))
        describe(axes, f"{title} and its verdict", machine)
        name_beside(axes)
