"""Trajectories from files: one in .json, many in .jsonl, the latter also compressed."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepguard.errors import TrajectoryError
from stepguard.prompt import Trajectory

_MANY = (".jsonl", ".jsonl.gz")
_MOST_UNPACKED = 1 << 30  # bytes: a small file can unpack to any size


@dataclass(frozen=True)
class Named:
    """A trajectory, what its file calls it, and the JSON object that it was read from."""

    name: str | None
    trajectory: Trajectory
    value: Mapping[str, Any]


def read_trajectories(path: str) -> list[Named]:
    """All trajectories of a file.

    Raises:
        TrajectoryError: the file cannot be read, or one of its trajectories has the wrong form;
            names file, line and place.
    """
    return [_named(value, where) for where, value in read_values(path)]


def read_values(path: str) -> list[tuple[str, Any]]:
    """What a file holds, a value or one a line, each with where it stands. At least one.

    Raises:
        TrajectoryError: the file cannot be read, or is no JSON.
    """
    data = _bytes(path)
    if not path.endswith(_MANY):
        return [(path, _json(data, path))]
    found = list(json_lines(data.splitlines(), path))
    if not found:
        raise TrajectoryError(path, expected="a trajectory on every line", got="no line")
    return found


def json_lines(lines: Iterable[bytes], path: str) -> Iterator[tuple[str, Any]]:
    """Where it stands ("path: line 3") and the value of every line that is not blank.

    Raises:
        TrajectoryError: names the line that is no JSON.
    """
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{path}: line {number}"
            yield where, _json(line, where)


def located(error: TrajectoryError, where: str) -> TrajectoryError:
    """The same error, with the place in the file in front."""
    return TrajectoryError(
        f"{where}: {error.where}", expected=error.expected, got=error.got, fix=error.fix
    )


def _named(value: Any, where: str) -> Named:
    if isinstance(value, dict) and "profile" in value and "contents" not in value:
        raise TrajectoryError(
            where,
            expected="a trajectory with 'profile' and 'contents'",
            got="the first line of a stream",
            fix="Give a stream on standard input: stepguard moderate OUT - < FILE",
        )
    try:
        trajectory = Trajectory.from_dict(value)
    except TrajectoryError as error:
        raise located(error, where) from error
    if not trajectory.steps:
        raise TrajectoryError(where, expected="at least one step", got="none")
    name = value.get("id")
    return Named(name if isinstance(name, str) else None, trajectory, value)


def _bytes(path: str) -> bytes:
    try:
        if not path.endswith(".gz"):
            return Path(path).read_bytes()
        with gzip.open(path) as file:
            data = file.read(_MOST_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise TrajectoryError(path, expected="a readable file", got=got) from error
    if len(data) > _MOST_UNPACKED:
        expected = f"at most {_MOST_UNPACKED >> 20} MiB when unpacked"
        raise TrajectoryError(path, expected=expected, got="more", fix="Split the file.")
    return data


def _json(data: bytes, where: str) -> Any:
    try:
        return json.loads(data)
    except RecursionError as error:
        raise TrajectoryError(where, expected="JSON", got="too deep a nesting") from error
    except ValueError as error:
        raise TrajectoryError(where, expected="JSON", got=str(error)) from error
