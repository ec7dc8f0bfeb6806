"""The margins of checkpoints on labelled prefixes, without an export."""

from __future__ import annotations

from pathlib import Path

import torch

from stepguard.errors import TrainingError
from stepguard.train.lora.adapter import Adapter
from stepguard.train.lora.base import Base
from stepguard.train.lora.lower import Lower
from stepguard.train.lora.rows import Packed, Row
from stepguard.train.lora.settings import Settings
from stepguard.train.lora.store import run_of
from stepguard.train.lora.tower import Tower, margins_of
from stepguard.train.scores import Scored


def settings_of(run: Path) -> Settings:
    """Those that a run was begun with.

    Raises:
        TrainingError: the folder is no run, or one of another version.
    """
    try:
        return Settings(**run_of(run)["settings"])
    except (KeyError, TypeError) as error:
        expected = "the settings of this version"
        raise TrainingError(str(run), expected=expected, got=str(error)) from error


class Scorer:
    """A base with the adapter of a run, of which any checkpoint can be taken. Without one it is
    the base as it was. It takes the base's layers over."""

    def __init__(self, base: Base, settings: Settings, lower: Path | None = None) -> None:
        """lower: the folder that keeps what frozen layers give."""
        self._adapter = Adapter(base, settings)
        self._tower = Tower(base.model, settings.precision)
        self._first = base.layers - settings.layers
        self._lower = Lower(self._tower, self._first, base.sha256, lower)
        self._adapter.train(False)

    def take(self, checkpoint: Path) -> None:
        """Goes on with the adapter of a checkpoint. Raises TrainingError for another shape."""
        self._adapter.load(checkpoint)

    def score(self, packed: Packed) -> Scored:
        """The margins at all labelled prefixes that have a place in the context."""
        margins: list[float] = []
        with torch.no_grad():
            for row in packed.rows:
                margins += margins_of(self._tower, self._hidden(row), row).tolist()
        steps = tuple(question.step for question in packed.questions)
        lost = f"overflow: {packed.unread} prefixes" if packed.unread else ""
        return Scored(packed.record.sha256, steps, tuple(margins), lost)

    def _hidden(self, row: Row) -> torch.Tensor:
        hidden = self._lower.get(row)
        return self._tower.run(hidden, row, self._first, len(self._tower.layers))
