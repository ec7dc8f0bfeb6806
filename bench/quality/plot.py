"""A picture of the result: ROC curves, AUROC by source, and reliability."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from stepguard.bench.plot import picture
from stepguard.bench.quality.evaluate import Row
from stepguard.bench.quality.layout import UNKNOWN, Judged, Layout
from stepguard.train.metrics import bins


def plot_quality(layout: Layout, judges: Sequence[Judged], rows: Sequence[Row], file: Path) -> None:
    """Writes a .png or .svg; StepguardError when matplotlib is not there."""
    with picture(file, size=(15, 5), columns=3) as (curves, sources, reliability):
        _curves(curves, layout, judges)
        _sources(sources, rows)
        _reliability(reliability, layout, judges)
        reliability.legend(fontsize=8)


def _curves(axes: Any, layout: Layout, judges: Sequence[Judged]) -> None:
    read = np.logical_and.reduce([np.isfinite(judge.whole_margins) for judge in judges])
    labels = layout.label[read]
    if len(np.unique(labels)) == 2:
        for judge in judges:
            alarms, hits, _ = roc_curve(labels, judge.whole_margins[read])
            axes.plot(alarms, hits, linestyle=_line(judge))
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.set(xlabel="false alarms", ylabel="found", title="trajectories", xlim=(0, 1), ylim=(0, 1))


def _sources(axes: Any, rows: Sequence[Row]) -> None:
    chosen = [r for r in rows if r.level == "trajectory" and r.by in ("all", "source", "mean")]
    names = list(dict.fromkeys(row.name for row in chosen))
    judges = list(dict.fromkeys(row.judge for row in chosen))
    for j, judge in enumerate(judges):
        for row in (row for row in chosen if row.judge == judge):
            found = row.metrics["auroc"]
            if found.value is None:
                continue
            place = names.index(row.name) + 0.8 * (j + 0.5) / len(judges) - 0.4
            low = found.value if found.low is None else found.low
            high = found.value if found.high is None else found.high
            axes.plot([low, high], [place, place], color=f"C{j % 10}", linewidth=1)
            axes.plot([found.value], [place], marker="o", markersize=4, color=f"C{j % 10}")
    axes.axvline(0.5, color="grey", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="AUROC of trajectories, 95 % over families", xlim=(0, 1))
    axes.invert_yaxis()


def _reliability(axes: Any, layout: Layout, judges: Sequence[Judged]) -> None:
    for judge in judges:
        inside = np.isfinite(judge.margins) & (layout.unsafe != UNKNOWN)
        if inside.any():
            found = bins(judge.scores[inside], layout.unsafe[inside], np.ones(inside.sum()))
            points = [(bin_.score, bin_.unsafe) for bin_ in found]
            axes.plot(
                *zip(*points, strict=True), marker="o", linestyle=_line(judge), label=judge.name
            )
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.set(xlabel="score", ylabel="share that is unsafe", title="actions", xlim=(0, 1))
    axes.set_ylim(0, 1)


def _line(judge: Judged) -> str:
    return "-" if judge.kind == "guard" else "--"
