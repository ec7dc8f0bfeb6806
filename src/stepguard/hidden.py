"""The hidden rows behind the questions of a trajectory, for whoever fits heads on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stepguard.judge import Judge
from stepguard.runtime import Result
from stepguard.taxonomy import Reason
from stepguard.track import Ask


@dataclass(frozen=True, eq=False)
class HiddenRows:
    """steps: the index of the step before each question that could be read. rows: float32
    [steps, hidden], after the final norm, at the question's last token. lost: why the first of the
    others could not be read, or ""."""

    steps: tuple[int, ...]
    rows: npt.NDArray[np.float32]
    lost: str


def rows_of(
    judge: Judge, asks: Sequence[Ask], results: Sequence[Result], _latency: float
) -> HiddenRows:
    """The rows of a chain of questions; results are two a question, the second is its own."""
    steps, rows, lost = [], [], []
    for index, ask in enumerate(asks):
        if ask.track.malformed:
            lost.append(f"{Reason.MALFORMED}: {ask.track.malformed}")
            continue
        answer = results[2 * index + 1]
        if answer.reason:
            lost.append(f"{answer.reason}: {answer.message}")
        elif not np.isfinite(answer.hidden).all():
            lost.append(f"{Reason.NUMERIC}: a hidden row is not finite")
        else:
            steps.append(ask.track.count - 1)
            rows.append(answer.hidden)
    table = np.array(rows, np.float32) if rows else np.empty((0, 0), np.float32)
    return HiddenRows(tuple(steps), table, lost[0] if lost else "")
