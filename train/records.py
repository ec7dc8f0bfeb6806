"""Labelled trajectories: a trajectory a line, with label, family and, where known, the first step
that is unsafe."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stepguard.errors import TrajectoryError
from stepguard.files import read_trajectories
from stepguard.prompt import Trajectory

DIMENSIONS = ("risk_source", "failure_mode", "harm_type")
_FIX = (
    'A record is {"profile", "contents", "label": 0 or 1, "first_unsafe_step": index or null, '
    '"source": text, "meta": {"family": text}}; the last three may be missing.'
)
_HARM = "real_world_harm"  # what a taxonomy calls harm_type; records may, too


@dataclass(frozen=True)
class Record:
    """A trajectory that is labelled unsafe or not.

    name: unique within its file. family: what must not be split, like all runs of one task; the
    record alone where the file says nothing. first_unsafe: index of the first unsafe step, the
    rounds joined; None where it is not known, or the record is safe. sha256: of its JSON. labels:
    pairs of a taxonomy's dimension and its label, as far as the file names them. meta: what the
    file says besides. licence: of the record, "" where it does not say.
    """

    name: str
    source: str
    family: str
    unsafe: bool
    first_unsafe: int | None
    trajectory: Trajectory
    sha256: str
    labels: tuple[tuple[str, str], ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    licence: str = field(default="", compare=False)

    def label_of(self, dimension: str) -> str | None:
        """Its label of a dimension, as a taxonomy or as records call it; None if not known."""
        return dict(self.labels).get("harm_type" if dimension == _HARM else dimension)


def read_records(files: Sequence[Path], limit: int | None = None) -> list[Record]:
    """The records of .jsonl or .jsonl.gz files, at most `limit` of each file, always the same.

    Raises:
        TrajectoryError: a file cannot be read, or a record is of the wrong form; says which.
    """
    found = [record for file in files for record in _of_file(Path(file), limit)]
    twins = {record.sha256: record for record in found}
    if len(twins) < len(found):
        got = f"{len(found) - len(twins)} that are there twice"
        raise TrajectoryError("records", expected="records that differ", got=got)
    return found


def digest_of(records: Sequence[Record]) -> str:
    """A hash over records, whatever their order (hex)."""
    return hashlib.sha256("".join(sorted(record.sha256 for record in records)).encode()).hexdigest()


def listed_hashes(file: Path) -> frozenset[str]:
    """The `sha256` of every line of a .jsonl file.

    Raises:
        TrajectoryError: a line has none.
    """
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found.append(str(json.loads(line)["sha256"]))
        except (ValueError, KeyError, TypeError) as error:
            expected = 'an object with the key "sha256"'
            raise TrajectoryError(
                f"{file}: line {number}", expected=expected, got=repr(line)[:80]
            ) from error
    return frozenset(found)


def _of_file(file: Path, limit: int | None) -> list[Record]:
    items = read_trajectories(str(file))
    order = np.arange(len(items))
    if limit is not None and limit < len(items):
        # By the file's own name, so that other files change nothing.
        generator = np.random.default_rng(zlib.crc32(file.name.encode()))
        order = np.sort(generator.permutation(len(items))[:limit])
    return [
        _record(items[i].trajectory, items[i].value, f"{file.name}: record {i + 1}", file)
        for i in order
    ]


def _record(trajectory: Trajectory, value: Mapping[str, Any], where: str, file: Path) -> Record:
    label = value.get("label")
    if label not in (0, 1) or isinstance(label, float):
        raise _wrong(f"{where}: label", "0 (safe) or 1 (unsafe)", label)
    first = value.get("first_unsafe_step")
    steps = trajectory.steps
    if first is not None:
        if type(first) is not int or not 0 <= first < len(steps) or steps[first].role != "agent":
            expected = f"the index of an agent step below {len(steps)}, or null"
            raise _wrong(f"{where}: first_unsafe_step", expected, first)
        if not label:
            raise _wrong(f"{where}: first_unsafe_step", "null for a safe record", first)
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8", "surrogatepass"))
    source = str(value.get("source") or file.name.partition(".")[0])
    meta = value.get("meta")
    return Record(
        name=str(value.get("id") or where),
        source=source,
        family=family_of(value, source, digest.hexdigest()[:16]),
        unsafe=bool(label),
        first_unsafe=first,
        trajectory=trajectory,
        sha256=digest.hexdigest(),
        labels=_labels(value, where),
        meta=meta if isinstance(meta, Mapping) else {},
        licence=str(value.get("license") or ""),
    )


def family_of(value: Mapping[str, Any], source: str, alone: str) -> str:
    """The family of a record as its file has it; alone: its name where the file says nothing."""
    meta = value.get("meta")
    family = meta.get("family") if isinstance(meta, Mapping) else None
    return f"{source}/{family or alone}"


def _labels(value: Mapping[str, Any], where: str) -> tuple[tuple[str, str], ...]:
    found = []
    for key in DIMENSIONS:
        label = value.get(key) or (value.get(_HARM) if key == "harm_type" else None)
        if label and not isinstance(label, str):
            raise _wrong(f"{where}: {key}", "the id of a label, or null", label)
        if label:
            found.append((key, label))
    return tuple(found)


def _wrong(where: str, expected: str, got: object) -> TrajectoryError:
    return TrajectoryError(where, expected=expected, got=repr(got)[:80], fix=_FIX)
