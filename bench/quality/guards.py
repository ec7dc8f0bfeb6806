"""Guards as judges: their margins at every action, read once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stepguard.bench.opened import Opened
from stepguard.bench.quality.layout import Judged, Layout, Pool, pooled
from stepguard.taxonomy import judge
from stepguard.train.kept import Progress
from stepguard.train.points import Floats
from stepguard.train.scores import Scored, guard_key, score_records


def judge_by_guard(
    model: Opened,
    name: str,
    layout: Layout,
    pool: Pool,
    kept: Path | None = None,
    progress: Progress | None = None,
) -> Judged:
    """Reads what `kept` does not know yet. A whole trajectory has the largest margin of its
    actions, or with "last" that of its last one; NaN where an action could not be read.

    Raises:
        TaxonomyError: the guard gives no verdicts.
        TrajectoryError: `kept` is of another kind of file.
    """
    scored = score_records(model.guard, layout.records, kept, progress)
    calibration = model.reader.judge.calibration
    margins = at_actions(layout, scored)
    whole = pooled(layout, margins, pool)

    def scores(values: Floats) -> Floats:
        return np.array(
            [np.nan if np.isnan(v) else judge(float(v), calibration)[1] for v in values], np.float64
        )

    return Judged(
        name,
        "guard",
        margins,
        scores(margins),
        whole,
        scores(whole),
        threshold=0.5 if calibration is None else calibration.low,
        facts={
            **model.to_dict(),
            **guard_key(model.guard),
            "calibrated": "no" if calibration is None else "yes",
        },
        lost=tuple(one.lost for one in scored if one.lost),
    )


def at_actions(layout: Layout, scored: Sequence[Scored]) -> Floats:
    """float64 [actions]: the margin at each action; NaN where there is none."""
    known = [dict(zip(one.steps, one.margins, strict=True)) for one in scored]
    places = zip(layout.record.tolist(), layout.step.tolist(), strict=True)
    return np.array([known[i].get(step, np.nan) for i, step in places], np.float64)


def fresh_names(folders: Sequence[tuple[str, str | None]]) -> list[str]:
    """A name for each (folder, mode): the folder's, the mode where it was asked for, a number where
    that is not enough."""
    found: list[str] = []
    for folder, mode in folders:
        name = folder if mode is None else f"{folder} ({mode})"
        again = sum(other == name or other.startswith(f"{name} #") for other in found)
        found.append(f"{name} #{again + 1}" if again else name)
    return found
