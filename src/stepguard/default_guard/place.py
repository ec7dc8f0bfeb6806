"""Where the default guard is installed, and whether it is there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from stepguard._version import __version__
from stepguard.default_guard.kept import Kept, read_kept
from stepguard.errors import ModelFormatError
from stepguard.integrity import verify
from stepguard.manifest import CalibrationEntry, Manifest, load

INSTALL = "Type: stepguard default install"


def data_folder() -> Path:
    """Its place among the user's data, whether it is there or not."""
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    root = base if base.is_absolute() else Path.home() / ".local" / "share"
    return root / "stepguard" / "default"


def installed() -> Path:
    """Its model directory.

    Raises:
        ModelFormatError: it is not installed, or another version's is; says how to install it.
    """
    folder = data_folder()
    try:
        found = _adapter_of(load(folder))
    except ModelFormatError as error:
        raise _missing(folder, f"{error.got} ({error.where})") from error
    if found != read_kept().adapter:
        raise _missing(folder, "a model with another adapter, or with none")
    return folder


def holds(folder: Path, kept: Kept, quant: str, calibrations: Iterable[CalibrationEntry]) -> bool:
    """Whether the folder is this version's default guard, whole: every file is hashed.

    Calibrations of one's own stay: only their settings must be there.
    """
    try:
        manifest = load(folder)
        verify(folder, manifest).close()
    except ModelFormatError:
        return False
    there = {_settings(entry) for entry in manifest.calibration}
    return (
        manifest.stepguard_version == __version__
        and manifest.quantisation.requested == quant
        and manifest.origin.sha256 == kept.base.sha256
        and _adapter_of(manifest) == kept.adapter
        and {_settings(entry) for entry in fitting(manifest, calibrations)} <= there
    )


def fitting(manifest: Manifest, calibrations: Iterable[CalibrationEntry]) -> list[CalibrationEntry]:
    """The calibrations that are of exactly this model: others say nothing about it."""
    return [entry for entry in calibrations if entry.model == manifest.sha256]


def _settings(entry: CalibrationEntry) -> tuple[str, ...]:
    return entry.mode, entry.prompt, entry.kv, entry.activations


def _adapter_of(manifest: Manifest) -> str | None:
    adapter = manifest.origin.adapter
    return None if adapter is None else adapter.sha256


def _missing(folder: Path, got: str) -> ModelFormatError:
    return ModelFormatError("the default guard", expected=f"it in {folder}", got=got, fix=INSTALL)
