"""The margins of a guard at every action of labelled trajectories; kept, so that a long run goes on
where it was cut off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stepguard.guard import Guard
from stepguard.train.kept import Kept, Progress
from stepguard.train.records import Record


@dataclass(frozen=True)
class Scored:
    """Margins of one record: one for each verdict, with the index of its step.

    What could not be read (`unavailable`) has no margin; `lost` says why the first had none.
    """

    sha256: str
    steps: tuple[int, ...]
    margins: tuple[float, ...]
    lost: str = ""


def guard_key(guard: Guard) -> dict[str, str]:
    """What margins depend on: anything else scores anew."""
    return {
        "model": guard.manifest.sha256,
        "prompt": guard.prompt.asked,
        "mode": guard.mode,
        "kv": guard.kv,
        "activations": guard.activations,
        "isa": guard.isa,
    }


def score_records(
    guard: Guard,
    records: Sequence[Record],
    kept: Path | None = None,
    progress: Progress | None = None,
) -> list[Scored]:
    """The margins of all records, in their order.

    kept: a file that remembers what was scored, a line a record; a later call with the same guard
    scores only what is missing. progress: called with records done and to do.

    Raises:
        TrajectoryError: `kept` is of another kind of file.
    """

    def read(part: Sequence[Record]) -> list[Scored]:
        answers = guard.moderate_many([record.trajectory for record in part])
        new = []
        for record, verdicts in zip(part, answers, strict=True):
            found = [v for v in verdicts if v.margin is not None and v.step is not None]
            lost = next((f"{v.reason}: {v.message}" for v in verdicts if v.margin is None), "")
            steps = tuple(v.step for v in found if v.step is not None)
            margins = tuple(v.margin for v in found if v.margin is not None)
            new.append(Scored(record.sha256, steps, margins, lost))
        return new

    return Kept("scores", kept, guard_key(guard), asdict, _unpack).all_of(records, read, progress)


def _unpack(value: dict[str, Any]) -> Scored:
    return Scored(value["sha256"], tuple(value["steps"]), tuple(value["margins"]), value["lost"])
