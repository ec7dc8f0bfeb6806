"""The checkpoints of a run, measured on validation records and judged by the rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepguard.errors import TrainingError
from stepguard.train.checkpoint_rule import Measured, Split, Traffic, measure
from stepguard.train.kept import Progress
from stepguard.train.lora.learned import KEY, Learned, learned_of
from stepguard.train.lora.rows import Packed
from stepguard.train.lora.scoring import Scorer
from stepguard.train.lora.store import run_of, steps_of
from stepguard.train.points import label_points, number_families
from stepguard.train.records import Record
from stepguard.train.scores import Scored


@dataclass(frozen=True)
class Part:
    """A validation split: its name, and what is read of its records."""

    name: str
    packed: Sequence[Packed]


def measure_run(
    scorer: Scorer,
    run: Path,
    inside: Part,
    outside: Part,
    safe: Part,
    progress: Progress | None = None,
) -> Iterator[Measured]:
    """Step 0 and then every checkpoint, as they are measured; the scorer's adapter is new. Step 0
    is the base, or what the run was told to begin from.

    progress: called with records read and to read.

    Raises:
        TrainingError: a split is not for validation, cannot be measured with, or was learned from.
    """
    for part in (inside, outside, safe):
        _check(part, labels=part is not safe)
        records = [one.record for one in part.packed]
        check_apart(run, part.name, records, sources=part is outside)
    folders: list[Path | None] = [*steps_of(run)]
    if not folders or _step(folders[0]) > 0:
        folders.insert(0, None)
    parts = (inside, outside, safe)
    total = len(folders) * sum(len(part.packed) for part in parts)
    done = 0
    for folder in folders:
        if folder is not None:
            scorer.take(folder)
        found: list[list[Scored]] = []
        for part in parts:
            scored = []
            for one in part.packed:
                if progress is not None:
                    progress(done, total)
                scored.append(scorer.score(one))
                done += 1
            found.append(scored)
        step = _step(folder)
        calm = _traffic(inside, found[0])
        yield measure(
            step,
            _split(inside, found[0]),
            _split(outside, found[1]),
            calm,
            _traffic(safe, found[2]),
        )
    if progress is not None:
        progress(total, total)


def _step(folder: Path | None) -> int:
    return 0 if folder is None else int(folder.name.removeprefix("step-"))


def check_apart(run: Path, name: str, records: Sequence[Record], *, sources: bool) -> None:
    """Raises TrainingError for records, or families, that the run learned from. name: of the split;
    sources: whether its sources must be other ones, too."""
    learned = learned_of(run, str(run_of(run).get(KEY)))
    found = Learned.of(records)
    shared = {
        "records": found.records & learned.records,
        "families": found.families & learned.families,
        "sources": found.sources & learned.sources if sources else frozenset(),
    }
    for what, both in shared.items():
        if both:
            more = "" if what == "records" else f", like {min(both)}"
            raise TrainingError(
                f"split {name}",
                expected=f"{what} that the run did not learn from",
                got=f"{len(both)} that it did{more}",
                fix="Choose on records that were kept apart by family, outside by source.",
            )


def _check(part: Part, *, labels: bool) -> None:
    read = {one.record.unsafe for one in part.packed if one.rows}
    if labels and len(read) < 2:
        raise TrainingError(part.name, expected="safe and unsafe records", got="one kind only")
    if not labels and read != {False}:
        got = "unsafe ones, too" if True in read else "none"
        raise TrainingError(part.name, expected="safe records", got=got)


def _split(part: Part, scored: Sequence[Scored]) -> Split:
    points = label_points([one.record for one in part.packed], scored)
    return Split(part.name, points.margins, points.unsafe, points.weights, points.families)


def _traffic(part: Part, scored: Sequence[Scored]) -> Traffic:
    families = number_families([one.record for one in part.packed])
    safe = [
        (max(found.margins), family)
        for one, found, family in zip(part.packed, scored, families, strict=True)
        if found.margins and not one.record.unsafe
    ]
    table = np.array(safe, np.float64).reshape(-1, 2)
    return Traffic(part.name, table[:, 0], table[:, 1].astype(np.int64))
