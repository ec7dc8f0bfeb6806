"""An adapter that a run begins from, where another run's checkpoint is kept without its moments."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from stepguard.errors import TrainingError
from stepguard.train.lora.adapter import CONFIG, WEIGHTS, Adapter
from stepguard.train.lora.learned import FILE, Learned, digest, read_learned


@dataclass(frozen=True)
class Start:
    """sha256: of the weights; alpha: of `Settings`; learned: what made it, which the new run has
    learned from, too."""

    folder: Path
    sha256: str
    alpha: int
    learned: Learned

    def give(self, adapter: Adapter, alpha: int) -> None:
        """Puts its values into an adapter that has none yet.

        Raises:
            TrainingError: it is of other layers, another rank or another alpha.
        """
        if alpha != self.alpha:
            where, expected = str(self.folder / CONFIG), f"lora_alpha {alpha}, twice the --rank"
            raise TrainingError(where, expected=expected, got=str(self.alpha))
        adapter.load(self.folder)


def read_start(folder: Path) -> Start:
    """The adapter in a folder: a checkpoint of a run, or a kept one with `learned.json` beside it.

    Raises:
        TrainingError: a file is missing or is something else.
    """
    try:
        weights = (folder / WEIGHTS).read_bytes()
        alpha = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["lora_alpha"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected = f"an adapter: {CONFIG} and {WEIGHTS}"
        raise TrainingError(str(folder), expected=expected, got=repr(error)[:200]) from error
    beside = folder / FILE
    learned = read_learned(beside if beside.exists() else folder.resolve().parent / FILE)
    return Start(folder, digest(weights), alpha, learned)
