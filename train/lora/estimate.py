"""How long a run will take here, from a few of its records."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from stepguard.errors import TrainingError
from stepguard.train.lora.adapter import Adapter
from stepguard.train.lora.base import Base
from stepguard.train.lora.lower import Lower
from stepguard.train.lora.rows import Packed
from stepguard.train.lora.settings import Settings
from stepguard.train.lora.tower import Tower, loss_of


@dataclass(frozen=True)
class Estimate:
    """Seconds of the first pass over the data, in which frozen layers are computed, and of a later
    one; tokens of all rows; bytes that are kept of frozen layers."""

    first: float
    later: float
    tokens: int
    kept: int

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def estimate(
    base: Base,
    packed: Sequence[Packed],
    settings: Settings,
    count: int = 6,
    clock: Callable[[], float] = time.perf_counter,
    beside: int = 1,
) -> Estimate:
    """Reads `count` records, of all lengths, forward and back. It takes the base's layers over.
    beside: how many a run would read at once, a core each; here they are read alone.

    Raises:
        TrainingError: no record has a labelled action, or a setting does not fit the base.
    """
    known = sorted((one for one in packed if one.rows), key=lambda one: one.tokens)
    if not known:
        raise TrainingError("records", expected="labelled actions", got="none")
    chosen = [known[(2 * i + 1) * len(known) // (2 * count)] for i in range(count)]
    if beside > 1:
        torch.set_num_threads(1)
    adapter, tower = Adapter(base, settings), Tower(base.model, settings.precision)
    first = base.layers - settings.layers
    lower = Lower(tower, first, base.sha256, None)
    adapter.train(True)
    below = above = 0.0
    for index, one in enumerate([chosen[0], *chosen]):  # the first time only warms up
        for row in one.rows:
            begun = clock()
            hidden = lower.get(row)
            middle = clock()
            hidden = tower.run(hidden, row, first, base.layers)
            loss = loss_of(tower, hidden, row, settings.labels)
            torch.autograd.grad(loss, list(adapter.parameters.values()), allow_unused=True)
            if index:
                below, above = below + middle - begun, above + clock() - middle
    tokens = sum(one.tokens for one in known)
    read = sum(one.tokens for one in chosen) * beside
    wide = 2 if settings.precision == "bf16" else 4
    return Estimate(
        first=(below + above) * tokens / read,
        later=above * tokens / read,
        tokens=tokens,
        kept=wide * tower.hidden * tokens if first else 0,
    )
