"""The hidden rows of a guard at every action of labelled trajectories, kept like its margins."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stepguard.guard import Guard
from stepguard.train.kept import Kept, Progress
from stepguard.train.records import Record
from stepguard.train.scores import guard_key

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RecordRows:
    """Rows of one record: float32 [steps, hidden], one for each action, with its step's index.

    What could not be read has no row; `lost` says why the first had none.
    """

    sha256: str
    steps: tuple[int, ...]
    rows: Rows
    lost: str = ""


def rows_key(guard: Guard) -> dict[str, str]:
    """What rows depend on: as margins do, but not on heads."""
    return {**guard_key(guard), "model": guard.manifest.base_sha256}


def read_rows(
    guard: Guard,
    records: Sequence[Record],
    kept: Path | None = None,
    progress: Progress | None = None,
) -> list[RecordRows]:
    """The rows of all records, in their order; the arguments are those of `score_records`.

    Raises:
        TrajectoryError: `kept` is of another kind of file.
    """
    hidden = guard.manifest.architecture.hidden

    def read(part: Sequence[Record]) -> list[RecordRows]:
        found = guard.hidden_rows([record.trajectory for record in part])
        return [
            RecordRows(record.sha256, one.steps, one.rows, one.lost)
            for record, one in zip(part, found, strict=True)
        ]

    def unpack(value: dict[str, Any]) -> RecordRows:
        steps = tuple(value["steps"])
        rows = np.frombuffer(base64.b64decode(value["rows"], validate=True), "<f4")
        return RecordRows(value["sha256"], steps, rows.reshape(len(steps), hidden), value["lost"])

    return Kept("rows", kept, rows_key(guard), _pack, unpack).all_of(records, read, progress)


def _pack(one: RecordRows) -> dict[str, Any]:
    rows = base64.b64encode(one.rows.astype("<f4").tobytes()).decode("ascii")
    return {"sha256": one.sha256, "steps": one.steps, "rows": rows, "lost": one.lost}
