"""One text read by our engine step by step and by transformers at once, and how far they differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from stepguard.runtime import Engine, Segment, isa_tables
from tests.oracle.checkpoints import VOCABULARY

torch.set_num_threads(1)  # small models: more threads only get in each other's way

Floats = npt.NDArray[np.float32]

TOLERANCE = 1e-4
PLAIN_SIGHT = 100 * TOLERANCE  # a fault must move some logit by more than this
TEXT = np.random.default_rng(7).integers(0, VOCABULARY, 131).astype(np.int32)
BORDERS = (1, 33, 64, 100, len(TEXT))  # a step ends before each
ROWS = np.array([0, 3, 16, 115, 117, 118, 200, 255, 258, VOCABULARY - 1], np.int32)
ISAS = [table.name for table in isa_tables()]


def ours(model: Path, isa: str, borders: Sequence[int] = BORDERS) -> Floats:
    """Logits [borders, rows] of our engine, read step by step."""
    engine = Engine(model, isa=isa, threads=2, kv="fp32", memory=32 << 20)
    try:
        assert engine.isa == isa
        state, read = engine.root, []
        for step in np.split(TEXT[: borders[-1]], borders[:-1]):
            result = engine.submit([Segment(step, state, keep=True, read=ROWS)]).wait(60)[0]
            assert result.reason == "", result.message
            assert result.state is not None
            state = result.state
            read.append(result.logits.copy())
        return np.stack(read)
    finally:
        engine.close()


def theirs(
    reference: Any,
    positions: npt.NDArray[np.int64] | None = None,
    borders: Sequence[int] = BORDERS,
) -> Floats:
    """The same logits of a transformers model, read at once."""
    positions = np.arange(len(TEXT)) if positions is None else positions
    with torch.no_grad():
        out = reference(
            torch.tensor(TEXT[None].astype(np.int64)),
            position_ids=torch.tensor(positions[None]),
            use_cache=False,
        )
    logits: Floats = out.logits[0].numpy()
    return logits[np.array(borders) - 1][:, ROWS]


def error(a: Floats, b: Floats) -> float:
    """Largest difference; infinite when a value is not a number."""
    difference = np.abs(a - b)
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")
