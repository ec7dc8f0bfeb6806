"""What was learned goes into a model directory: files are written beside their places and moved."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tempfile
from pathlib import Path

from stepguard.heads import HEAD, Head
from stepguard.manifest import FILE, CalibrationEntry, FileEntry, HeadEntry, Manifest, Target, load


def attach(folder: Path, entry: CalibrationEntry) -> None:
    """Adds the entry, in the place of an older one for the same mode, prompt and settings.

    Raises:
        ModelFormatError: the folder is no model directory. OSError: it cannot be written.
    """
    manifest = load(folder)
    others = [old for old in manifest.calibration if _key(old) != _key(entry)]
    changed = dataclasses.replace(manifest, calibration=(*others, entry))
    _write(folder / FILE, changed.to_json().encode("utf-8"), (folder / FILE).stat().st_mode)


def attach_head(folder: Path, head: Head, entry: HeadEntry, target: Target) -> None:
    """Adds a head, in the place of an older one for the same target. `entry` names no file yet.

    A head's file is named by its content, so that manifest.json alone decides which one counts:
    whoever loads meanwhile finds the old model or the new one. Calibrations are kept where they
    still hold: all but those of the head that is replaced.

    Raises:
        ModelFormatError: the folder is no model directory. OSError: it cannot be written.
    """
    manifest, data = load(folder), head.to_bytes()
    digest = hashlib.sha256(data).hexdigest()
    name = f"head-{target}-{digest[:16]}.safetensors"
    old = manifest.heads.get(target)
    heads = {**manifest.heads, target: dataclasses.replace(entry, file=name)}
    kept = {file.file for file in heads.values()}
    gone = {old.file} - kept if old is not None else set()
    files = {file: value for file, value in manifest.files.items() if file not in gone}
    changed = dataclasses.replace(
        manifest, heads=heads, files={**files, name: FileEntry(digest, len(data))}
    )
    changed = dataclasses.replace(changed, calibration=_carried(manifest, changed, target))
    mode = (folder / FILE).stat().st_mode
    _write(folder / name, data, mode)
    _write(folder / FILE, changed.to_json().encode("utf-8"), mode)
    for file in gone:
        (folder / file).unlink(missing_ok=True)


def _carried(before: Manifest, after: Manifest, target: Target) -> tuple[CalibrationEntry, ...]:
    """Calibrations name the model by its files; those that a new head does not touch go along."""
    stale = target == "verdict" and before.heads.get(target) != after.heads.get(target)
    return tuple(
        dataclasses.replace(entry, model=after.sha256) if entry.model == before.sha256 else entry
        for entry in before.calibration
        if not (stale and entry.mode == HEAD)
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode & 0o777)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _key(entry: CalibrationEntry) -> tuple[str, ...]:
    return entry.mode, entry.model, entry.prompt, entry.kv, entry.activations
