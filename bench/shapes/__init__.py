"""Random checkpoints and model directories of the guards' shapes: for time and memory only."""

from __future__ import annotations

from stepguard.bench.shapes.checkpoint import checkpoint_bytes, make_checkpoint
from stepguard.bench.shapes.guards import GUARDS, GuardShape, find_shape
from stepguard.bench.shapes.model import make_model

__all__ = [
    "GUARDS",
    "GuardShape",
    "checkpoint_bytes",
    "find_shape",
    "make_checkpoint",
    "make_model",
]
