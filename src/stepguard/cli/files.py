"""Trajectories from files: one in .json, many in .jsonl, the latter also compressed."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepguard.errors import TrajectoryError
from stepguard.prompt import Trajectory

_MANY = (".jsonl", ".jsonl.gz")


@dataclass(frozen=True)
class Named:
    """A trajectory and what its file calls it."""

    name: str | None
    trajectory: Trajectory


def read_trajectories(path: str) -> list[Named]:
    """All trajectories of a file.

    Raises:
        TrajectoryError: the file cannot be read, or one of its trajectories has the wrong form;
            names file, line and place.
    """
    data = _bytes(path)
    if not path.endswith(_MANY):
        return [_named(_json(data, path), path)]
    found = [_named(value, where) for where, value in json_lines(data.splitlines(), path)]
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
    return Named(name if isinstance(name, str) else None, trajectory)


def _bytes(path: str) -> bytes:
    try:
        data = Path(path).read_bytes()
        return gzip.decompress(data) if path.endswith(".gz") else data
    except (OSError, EOFError, zlib.error) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise TrajectoryError(path, expected="a readable file", got=got) from error


def _json(data: bytes, where: str) -> Any:
    try:
        return json.loads(data)
    except RecursionError as error:
        raise TrajectoryError(where, expected="JSON", got="too deep a nesting") from error
    except ValueError as error:
        raise TrajectoryError(where, expected="JSON", got=str(error)) from error
