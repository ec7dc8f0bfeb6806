"""One set of random weights for every engine: they all lie on the grid of Q4_0.

Every block of 32 weights is a power of two times whole numbers from -8 to 7, and holds a -8. So
the usual rules (a block's scale is its largest weight by -8) find the same numbers again, bfloat16
holds them exactly, and nobody's quantisation is better than another's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stepguard.bench.latency.gguf_file import write_gguf
from stepguard.bench.shapes import make_checkpoint, make_model
from stepguard.bench.shapes.checkpoint import random_store
from stepguard.bench.shapes.guards import GuardShape
from stepguard.bench.shapes.weights import RandomStore

Progress = Callable[[str, int, int], None]


def grid_store(shape: GuardShape, place: Path, seed: int) -> RandomStore:
    """The tensors of `shape`: matrices in Q4_0, everything else in BF16."""
    plain = random_store(shape, place, seed)
    kinds = {
        name: "Q4_0"
        for name, info in plain.tensors.items()
        if len(info.shape) == 2 and info.shape[1] % 32 == 0
    }
    return random_store(shape, place, seed, kinds=kinds)


def write_ours(shape: GuardShape, out: Path, seed: int, progress: Progress | None) -> None:
    """A model directory, int4."""
    store = grid_store(shape, out, seed)
    make_model(shape, out, quant="int4", seed=seed, store=store, progress=progress)


def write_hugging_face(shape: GuardShape, out: Path, seed: int, progress: Progress | None) -> None:
    """A checkpoint in bfloat16, for transformers and for the builders of other engines."""
    store = grid_store(shape, out, seed)
    make_checkpoint(shape, out, seed=seed, store=store, progress=progress)


def write_llama_cpp(shape: GuardShape, out: Path, seed: int, progress: Progress | None) -> None:
    """A GGUF file in Q4_0."""
    write_gguf(shape, grid_store(shape, out, seed), out, progress)
