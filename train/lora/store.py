"""Checkpoints of a run: folders that are there whole, or not at all.

    RUN/run.json          what the run is made of; another one is another folder
    RUN/learned.json      the records that it learns from: hashes, families, sources
    RUN/log.jsonl         a line a step: loss, learning rate, seconds
    RUN/step-000050/      an adapter that could ship, `state.json`, and of the newest one
                          `optimiser.safetensors`
    RUN/lower/            what frozen layers gave; may be deleted, and is computed again
    RUN/.run.lock         who has the folder

A folder is written under another name, brought to the disk, and renamed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from stepguard.errors import TrainingError
from stepguard.train.lora.adapter import Adapter
from stepguard.train.lora.hold import hold
from stepguard.train.lora.learned import FILE, KEY, Learned, digest

STATE = "state.json"  # of a checkpoint: steps made, and to make
RUN = "run.json"  # what the run is made of
_LOG, _OPTIMISER = "log.jsonl", "optimiser.safetensors"


@dataclass(frozen=True, eq=False)
class Saved:
    """A checkpoint that was found. step: how many were made; moments: of the optimiser, by name."""

    step: int
    folder: Path
    moments: dict[str, Tensor]


class Store:
    """The folder of one run, held until `close`."""

    def __init__(self, folder: Path, run: Mapping[str, Any], learned: Learned) -> None:
        """run: what must be the same for a run to go on, ready for JSON.

        Raises:
            TrainingError: the folder is another run's; says what differs. Or another sitting, or a
                choice, has it.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = hold(folder)
        try:
            self._open({**run, KEY: digest(learned.text().encode())}, learned)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets the next sitting in."""
        self._lock.close()

    def _open(self, run: Mapping[str, Any], learned: Learned) -> None:
        folder = self.folder
        for left in folder.glob(".step-*"):  # of a sitting that was killed while it wrote
            shutil.rmtree(left)
        path = folder / RUN
        if path.exists():
            _check_same(path, run)
        else:
            if any(not file.name.startswith(".") for file in folder.iterdir()):
                expected = "an empty folder, or one of an earlier sitting"
                raise TrainingError(str(folder), expected=expected, got="other files")
            _write(path, json.dumps(run, indent=2, sort_keys=True) + "\n")
        if not (folder / FILE).exists():
            _write(folder / FILE, learned.text())

    def newest(self) -> Saved | None:
        """The checkpoint to go on from."""
        for folder in reversed(steps_of(self.folder)):
            if (folder / _OPTIMISER).is_file():
                step = json.loads((folder / STATE).read_text())["step"]
                return Saved(step, folder, load_file(folder / _OPTIMISER))
        return None

    def save(
        self, step: int, adapter: Adapter, moments: Mapping[str, Tensor], state: Mapping[str, Any]
    ) -> Path:
        """Writes the checkpoint behind `step` steps; older ones keep their adapter only. moments:
        none before the first step."""
        place = self.folder / f"step-{step:06d}"
        beside = self.folder / f".{place.name}"
        beside.mkdir()
        adapter.save(beside)
        if moments:
            save_file(dict(moments), beside / _OPTIMISER)
        _write(beside / STATE, json.dumps({"step": step, **state}, sort_keys=True) + "\n")
        for file in beside.iterdir():
            _flush(file)
        beside.rename(place)
        _flush(self.folder)
        for folder in steps_of(self.folder):
            if folder != place:
                (folder / _OPTIMISER).unlink(missing_ok=True)
        return place

    def log(self, line: Mapping[str, Any]) -> None:
        """Adds a line; what a killed sitting did beyond its last checkpoint is done, and logged,
        again: of lines of one step the last counts."""
        with (self.folder / _LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def steps_of(run: Path) -> list[Path]:
    """The checkpoints of a run, the oldest first."""
    return sorted(path for path in run.glob("step-*") if (path / STATE).is_file())


def run_of(run: Path) -> dict[str, Any]:
    """What a run is made of. Raises TrainingError for a folder that is no run."""
    try:
        value = json.loads((run / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(str(run), expected=f"a run, with {RUN}", got=str(error)) from error
    if not isinstance(value, dict):
        raise TrainingError(str(run / RUN), expected="an object", got=type(value).__name__)
    return value


def _check_same(path: Path, run: Mapping[str, Any]) -> None:
    before, now = run_of(path.parent), json.loads(json.dumps(run))
    names = sorted({*before, *now})
    other = [name for name in names if before.get(name) != now.get(name)]
    if other:
        expected = ", ".join(f"{name} {before.get(name)}" for name in other)
        got = ", ".join(f"{name} {now.get(name)}" for name in other)
        raise TrainingError(
            str(path), expected=expected, got=got, fix="Go on as it began, or give another folder."
        )


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}")
    beside.write_text(text, encoding="utf-8")
    _flush(beside)
    beside.replace(path)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
