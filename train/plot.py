"""A reliability diagram: mean score against the share of unsafe prefixes, before and after."""

from __future__ import annotations

import importlib
from pathlib import Path

from stepguard.extras import needs
from stepguard.train.calibrate import Report


def plot_reliability(report: Report, path: Path) -> None:
    """Writes it; the file's ending says the format. Raises StepguardError without matplotlib."""
    with needs("train", "--plot", "the package matplotlib"):
        module = importlib.import_module("matplotlib.figure")
    figure = module.Figure(figsize=(8, 4), layout="constrained")
    for place, (name, found, values) in enumerate(
        (
            ("before", report.bins_before, report.before),
            (f"after ({report.method}, out of fold)", report.bins_after, report.after),
        ),
        start=1,
    ):
        axes = figure.add_subplot(1, 2, place)
        axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
        sizes = [20 + 400 * bin_.weight for bin_ in found]
        axes.scatter([b.score for b in found], [b.unsafe for b in found], s=sizes)
        axes.set(xlabel="score", ylabel="share that is unsafe", xlim=(0, 1), ylim=(0, 1))
        axes.set_title(f"{name}\nECE {values.ece:.3f}, Brier {values.brier:.3f}", fontsize=9)
    figure.savefig(path, dpi=120)
