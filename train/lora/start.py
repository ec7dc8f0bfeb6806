"""An adapter that a run begins from, where another run's checkpoint is kept without its moments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stepguard.errors import TrainingError
from stepguard.train.lora.adapter import CONFIG, WEIGHTS, Adapter, read_weights
from stepguard.train.lora.base import Base
from stepguard.train.lora.learned import FILE, KEY, Learned, digest, learned_of, read_learned
from stepguard.train.lora.settings import Settings
from stepguard.train.lora.store import RUN, run_of

_KEPT = "guard.json"  # beside an adapter that was kept


@dataclass(frozen=True)
class Start:
    """sha256: of the weights; base: of the model that it is an adapter of, None where nothing says;
    config: PEFT's; learned: what made it, which the new run has learned from, too."""

    folder: Path
    sha256: str
    base: str | None
    config: Mapping[str, Any]
    learned: Learned

    def check(self, base: Base, settings: Settings) -> None:
        """Call it before anything is written.

        Raises:
            TrainingError: it is of another base, or of other layers, another rank or scale.
        """
        if self.base not in (None, base.sha256):
            expected = f"an adapter of {base.name}, sha256 {base.sha256}"
            raise TrainingError(str(self.folder), expected=expected, got=f"one of {self.base}")
        wanted = {
            "r": settings.rank,
            "lora_alpha": settings.alpha,
            "layers_to_transform": list(range(base.layers - settings.layers, base.layers)),
            "use_rslora": False,
            "use_dora": False,
        }
        for name, value in wanted.items():
            found = self.config.get(name, False)
            if found != value:
                where = f"{self.folder / CONFIG}: {name}"
                fix = "Give the --rank and --train-layers of that adapter."
                raise TrainingError(where, expected=str(value), got=str(found), fix=fix)

    def give(self, adapter: Adapter) -> None:
        """Puts its values into an adapter that has none yet. Raises TrainingError: other shapes."""
        adapter.load(self.folder)


def read_start(folder: Path) -> Start:
    """The adapter in a folder: a checkpoint of a run, or a kept one with `learned.json` beside it.

    Raises:
        TrainingError: a file is missing or is something else; a value is no finite number.
    """
    state = read_weights(folder)
    if not all(bool(torch.isfinite(one).all()) for one in state.values()):
        raise TrainingError(str(folder / WEIGHTS), expected="finite numbers", got="others, too")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError(f"a {type(config).__name__}")
    except (OSError, ValueError) as error:
        where = str(folder / CONFIG)
        raise TrainingError(where, expected="PEFT's file", got=str(error)) from error
    learned, base = _origin(folder)
    return Start(folder, digest((folder / WEIGHTS).read_bytes()), base, config, learned)


def _origin(folder: Path) -> tuple[Learned, str | None]:
    """What an adapter learned from, and the SHA-256 of its base."""
    run = folder.resolve().parent
    if (run / RUN).exists() and not (folder / FILE).exists():
        found = run_of(run)
        return learned_of(run, str(found.get(KEY))), str(found.get("base_sha256"))
    try:
        kept = json.loads((folder / _KEPT).read_text(encoding="utf-8"))
        base = str(kept["base"]["sha256"])
    except (OSError, ValueError, TypeError, KeyError):
        base = None
    return read_learned(folder / FILE), base
