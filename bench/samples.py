"""Trajectories to measure on: read from JSON lines, the same choice at every run."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepguard.errors import TrajectoryError
from stepguard.prompt import Trajectory


@dataclass(frozen=True)
class Sample:
    """One trajectory and where it comes from."""

    name: str
    trajectory: Trajectory


def read_samples(files: Sequence[Path], limit: int, seed: int = 0) -> list[Sample]:
    """`limit` trajectories of .jsonl or .jsonl.gz files, from each file in turn while it has any.

    Raises:
        TrajectoryError: a file cannot be read, or a line of it is no trajectory.
    """
    queues = [_chosen(file, limit, seed) for file in files]
    taken = [
        sample for turn in range(limit) for queue in queues for sample in queue[turn : turn + 1]
    ]
    return taken[:limit]


def _chosen(file: Path, limit: int, seed: int) -> list[Sample]:
    lines = list(_lines(file))
    # The order of a file's lines depends on the file's own name only, not on the files beside it.
    order = np.random.default_rng([seed, zlib.crc32(file.name.encode())]).permutation(len(lines))
    return [_sample(file, number, text) for number, text in (lines[i] for i in order[:limit])]


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """(line number, text) of the lines that are not empty."""
    try:
        opened = gzip.open if file.suffix == ".gz" else open
        with opened(file, "rt", encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield number, line
    except (OSError, EOFError, UnicodeError, zlib.error) as error:
        raise TrajectoryError(
            str(file), expected="a .jsonl or .jsonl.gz file of trajectories", got=str(error)
        ) from error


def _sample(file: Path, number: int, text: str) -> Sample:
    where = f"{file.name}:{number}"
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TrajectoryError(where, expected="JSON", got=str(error)) from error
    trajectory = Trajectory.from_dict(value, where)
    if not trajectory.steps:
        raise TrajectoryError(where, expected="at least one step", got="none")
    name = value.get("id")
    return Sample(name if isinstance(name, str) else where, trajectory)
