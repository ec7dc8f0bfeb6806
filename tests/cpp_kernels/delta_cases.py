"""Layers and rows of the delta rule, and how close an answer must be."""

from __future__ import annotations

import numpy as np
from kernel_delta import Answer, Layer, Rows, State
from kernel_types import Array, Floats

# k heads, v heads, k_dim, v_dim, conv width: one, odd, shared keys, a real model's, the largest.
SIZES = [
    (1, 1, 1, 1, 2),
    (2, 2, 5, 7, 4),
    (2, 8, 24, 40, 3),
    (2, 4, 33, 31, 4),
    (2, 4, 128, 128, 4),
    (1, 1, 256, 256, 8),
]
ODD = (2, 4, 9, 37, 4)
LENGTHS = [1, 2, 3, 65]

OUT, STATE = 2e-6, 1e-6  # of Answer.size, and of the largest element of the state


def case(seed: int, sizes: tuple[int, ...], count: int) -> tuple[Layer, Rows, State]:
    rng = np.random.default_rng(seed)
    layer = Layer.random(rng, *sizes)
    return layer, layer.rows(rng, count), layer.state(rng)


def heads(layer: Layer, out: Array) -> Array:
    return out.reshape(len(out), layer.v_heads, layer.v_dim)


def out_error(got: Array, wanted: Answer) -> float:
    return float((np.abs(got - wanted.out) / (wanted.size + 1e-6)).max())


def assert_answer(out: Floats, end: State, wanted: Answer, scale: float = 1.0) -> None:
    assert out_error(out, wanted) < OUT * scale
    error = np.abs(end.delta - wanted.state.delta).max()
    assert error < STATE * scale * (1 + np.abs(wanted.state.delta).max())
    assert (end.conv == wanted.state.conv).all()
