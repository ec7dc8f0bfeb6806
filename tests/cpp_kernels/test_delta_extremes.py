"""What is no number, or large, or nothing, in the delta rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from delta_cases import ODD, assert_answer, case, heads
from kernel_delta import DeltaKernels, Layer, Rows, State, oracle
from kernel_oracles import same_bits
from kernel_types import Array, Floats


def _touched(layer: Layer, out: Floats, clean: Floats) -> Array:
    """[rows, v_heads]: 1 where a head is all NaN, 0 where its bits are unchanged, else -1."""
    got, wanted = heads(layer, out), heads(layer, clean)
    lost = np.isnan(got).all(axis=2)
    same = (got.view(np.uint32) == wanted.view(np.uint32)).all(axis=2)
    return np.where(lost, 1, np.where(same, 0, -1))


def test_nan_spreads_over_its_heads(delta: DeltaKernels, table: str) -> None:
    """q touches one row, as long as the convolution sees it; k, v and gates all that follow."""
    layer, rows, state = case(9, (2, 4, 9, 12, 4), 8)
    clean = delta.delta(table, layer, rows, state)
    q, k, v, z = 12, layer.key_columns + 12, 2 * layer.key_columns + 12, layer.channels
    after = np.repeat([[0], [0], [1]], [1, 1, 6], axis=0)
    window = np.repeat([[0], [0], [1], [0]], [1, 1, 4, 2], axis=0)
    shared, second = np.array([[0, 0, 1, 1]]), np.array([[0, 1, 0, 0]])
    for column, wanted in ((q, window * shared), (k, after * shared), (v, after * second)):
        bad = Rows(rows.qkvz.copy(), rows.ba)
        bad.qkvz[2, column] = np.nan
        assert (_touched(layer, delta.delta(table, layer, bad, state), clean) == wanted).all()
    for column in (1, 5):  # b, a of the second head
        bad = Rows(rows.qkvz, rows.ba.copy())
        bad.ba[2, column] = np.nan
        marks = _touched(layer, delta.delta(table, layer, bad, state), clean)
        assert (marks == after * second).all()
    bad = Rows(rows.qkvz.copy(), rows.ba)
    bad.qkvz[2, z + 12 + 3] = np.nan
    wrong = delta.delta(table, layer, bad, state)
    assert np.isnan(wrong[2, 12 + 3])
    wrong[2, 12 + 3] = clean[2, 12 + 3]
    assert same_bits(wrong, clean)
    for part, place in ((0, (v, 2)), (1, (1, 3, 4))):
        ill = State(*(array.copy() for array in state))
        ill[part][place] = np.nan
        marks = _touched(layer, delta.delta(table, layer, rows, ill), clean)
        assert (marks == second).all()


def test_infinity_does_not_stay_hidden(delta: DeltaKernels, table: str) -> None:
    layer, rows, state = case(10, (2, 4, 9, 12, 4), 8)
    for column in (12, layer.key_columns + 12, 2 * layer.key_columns + 24, layer.channels + 24):
        bad = Rows(rows.qkvz.copy(), rows.ba)
        bad.qkvz[2, column] = np.inf
        out = heads(layer, delta.delta(table, layer, bad, state))
        assert not np.isfinite(out[2, 2]).all()
        assert np.isfinite(out[:, :2]).all()


@pytest.mark.parametrize("size", [1e3, np.inf])
def test_extreme_gates(delta: DeltaKernels, table: str, size: float) -> None:
    """Decays of 0 and 1, betas of 0 and 1, exactly."""
    layer, rows, state = case(11, (1, 4, 8, 8, 4), 3)
    layer = replace(layer, a_log=np.zeros(4, np.float32))
    signs = np.array([[-1, 1, -1, 1, -1, -1, 1, 1]] * 3)  # b, then a
    extreme = Rows(rows.qkvz, (signs * size).astype(np.float32))
    limited = Rows(rows.qkvz, (signs * 800.0).astype(np.float32))
    target = layer.empty()
    out = delta.delta(table, layer, extreme, state, target)
    assert_answer(out, target, oracle(layer, limited, state))
    assert same_bits(target.delta[0], state.delta[0])
    assert (target.delta[2] == 0).all()


def test_zero_rows_of_q_and_k(delta: DeltaKernels, table: str) -> None:
    layer, rows, _ = case(12, ODD, 4)
    rows.qkvz[:, : 2 * layer.key_columns] = 0
    assert (delta.delta(table, layer, rows) == 0).all()


def test_large_inputs_do_not_overflow(delta: DeltaKernels, table: str) -> None:
    """The square of such a q is no float32."""
    layer, rows, state = case(13, ODD, 4)
    rows.qkvz[:, : 2 * layer.key_columns] *= np.float32(1e25)
    target = layer.empty()
    out = delta.delta(table, layer, rows, state, target)
    assert_answer(out, target, oracle(layer, rows, state))
