"""The output gate of attention."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_delta import DeltaKernels, sigmoid
from kernel_oracles import assert_close, normal, same_bits


@pytest.mark.parametrize("width", [1, 7, 8, 9, 64, 100])
def test_sigmoid_gate(delta: DeltaKernels, table: str, width: int) -> None:
    rng = np.random.default_rng(width)
    wide, x = normal(rng, 5, width + 11) * 8, normal(rng, 5, width)
    gate = wide[:, 4 : 4 + width]
    got = delta.sigmoid_gate(table, gate, x)
    assert_close(got, x * sigmoid(gate.astype(np.float64)), "silu")
    for row in range(5):
        assert same_bits(delta.sigmoid_gate(table, gate[row:], x[row:])[0], got[row])
    assert delta.sigmoid_gate(table, gate[:0], x[:0]).size == 0


def test_sigmoid_gate_extremes(delta: DeltaKernels, table: str) -> None:
    gate = np.array([[np.inf, -np.inf, 200, -200, np.nan, 0, 0, 0, 0]], np.float32)
    x = np.array([[3, 3, 3, 3, 3, np.nan, np.inf, 3, -0.0]], np.float32)
    got = delta.sigmoid_gate(table, gate, x)[0]
    assert np.isnan(got[[4, 5]]).all()
    assert (got[[0, 1, 2, 6, 7]] == [3, 0, 3, np.inf, 1.5]).all()
    assert abs(got[3]) < 1e-37
    assert np.signbit(got[8])
