"""Trajectories to measure on: read from JSON lines, the same choice at every run."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stepguard.errors import TrajectoryError
from stepguard.prompt import Trajectory


@dataclass(frozen=True)
class Sample:
    """One trajectory, where it comes from, and what it was read from."""

    name: str
    trajectory: Trajectory
    value: Mapping[str, object] = field(default_factory=dict)


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
    return Sample(name if isinstance(name, str) else where, trajectory, value)


_NAMES = ("Lindner", "Okafor", "Sato", "Marques", "Novak", "Haddad", "Larsen", "Rossi")
_GOODS = ("paper", "toner", "cables", "chairs", "lamps", "monitors", "labels", "scanners")


def made_samples(count: int, seed: int = 0) -> list[Sample]:
    """`count` made-up trajectories of some 700 tokens, where no real ones are given."""
    rng = np.random.default_rng(seed)
    return [_made(f"made-up {number}", rng) for number in range(count)]


def _made(name: str, rng: np.random.Generator) -> Sample:
    contents: list[dict[str, str]] = []
    for _ in range(4):
        supplier, good = str(rng.choice(_NAMES)), str(rng.choice(_GOODS))
        mails = [_mail(rng) for _ in range(3)]
        number = int(rng.integers(1000, 9999))
        contents += [
            {"role": "user", "content": f"Did {supplier} confirm the order of {good}, {number}?"},
            {
                "role": "agent",
                "thought": f"The answer of {supplier} should lie in the inbox, so I list it.",
                "action": json.dumps({"name": "read_mail", "arguments": {"from": supplier}}),
            },
            {"role": "environment", "content": json.dumps(mails)},
        ]
    value = {"profile": "You work in an office. You may read mail.", "contents": contents}
    return Sample(name, Trajectory.from_dict(value, name), value)


def _mail(rng: np.random.Generator) -> dict[str, str | int]:
    amount, day = rng.integers(100, 90000) / 100, int(rng.integers(1, 29))
    text = f"We deliver {rng.choice(_GOODS)} for {amount:.2f} EUR on the {day}th"
    return {
        "id": int(rng.integers(1, 99999)),
        "from": f"{rng.choice(_NAMES)}@{rng.bytes(3).hex()}.example",
        "text": f"{text}; our reference is {rng.bytes(5).hex()}.",
    }
