"""What a run learned from: kept beside it, since a checkpoint is chosen on other records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stepguard.errors import TrainingError
from stepguard.train.records import Record

FILE, KEY = "learned.json", "learned_sha256"  # KEY: of run.json, the file's hash


@dataclass(frozen=True)
class Learned:
    """records: their sha256."""

    records: frozenset[str]
    families: frozenset[str]
    sources: frozenset[str]

    @classmethod
    def of(cls, records: Sequence[Record]) -> Learned:
        """Of the records themselves."""
        return cls(
            frozenset(record.sha256 for record in records),
            frozenset(record.family for record in records),
            frozenset(record.source for record in records),
        )

    def joined(self, other: Learned) -> Learned:
        """What either learned from."""
        return Learned(
            self.records | other.records,
            self.families | other.families,
            self.sources | other.sources,
        )

    def text(self) -> str:
        """As a file: the same for the same records, whatever their order."""
        value = {name: sorted(found) for name, found in vars(self).items()}
        return json.dumps(value, separators=(",", ":")) + "\n"


def learned_of(run: Path, sha256: str) -> Learned:
    """What a run's folder says. sha256: what the file must be. Raises what `read_learned` does."""
    return read_learned(run / FILE, sha256)


def read_learned(path: Path, sha256: str | None = None) -> Learned:
    """What such a file says, wherever it lies.

    Raises:
        TrainingError: the file is missing, is no such file, or is another one than `sha256` names.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TrainingError(str(path), expected="a file of the run", got=str(error)) from error
    if sha256 is not None and digest(data) != sha256:
        expected, got = "the file that run.json names", "another one"
        raise TrainingError(str(path), expected=expected, got=got)
    try:
        return Learned(**{name: _texts(found) for name, found in json.loads(data).items()})
    except (ValueError, TypeError, AttributeError) as error:
        expected = f"{FILE} of a run of `stepguard train lora`"
        raise TrainingError(str(path), expected=expected, got=str(error)[:200]) from error


def _texts(found: object) -> frozenset[str]:
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise TypeError("something else than lists of texts")
    return frozenset(found)


def digest(data: bytes) -> str:
    """What KEY says of a file."""
    return hashlib.sha256(data).hexdigest()
