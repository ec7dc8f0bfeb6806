"""The delta rule with what surrounds it: close to the oracle, the same bits in any cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from delta_cases import LENGTHS, ODD, OUT, SIZES, assert_answer, case, out_error
from kernel_delta import FAULTS, DeltaKernels, State, oracle
from kernel_oracles import same_bits


@pytest.mark.parametrize("count", LENGTHS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_close_to_oracle(
    delta: DeltaKernels, table: str, sizes: tuple[int, ...], count: int
) -> None:
    layer, rows, state = case(count, sizes, count)
    for source in (None, state):
        target = layer.empty()
        out = delta.delta(table, layer, rows, source, target)
        assert_answer(out, target, oracle(layer, rows, source))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(delta: DeltaKernels, table: str, fault: str) -> None:
    layer, rows, state = case(1, (2, 4, 16, 24, 4), 5)
    layer = replace(layer, epsilon=0.5)  # a norm alone would hide a wrong scale of q
    out = delta.delta(table, layer, rows, state)
    assert out_error(out, oracle(layer, rows, state)) < OUT
    assert out_error(out, oracle(layer, rows, state, fault)) > 1e-2


@pytest.mark.parametrize("sizes", [*SIZES[:4], ODD], ids=str)
def test_borders_and_ranges_do_not_matter(
    delta: DeltaKernels, table: str, sizes: tuple[int, ...]
) -> None:
    """One call = two calls with the state handed over, at every border, in any cut of the work."""
    count = 21
    layer, rows, state = case(5, sizes, count)
    end = layer.empty()
    whole = delta.delta(table, layer, rows, state, end)
    for border in range(count + 1):
        middle, last = layer.empty(), layer.empty()
        cuts = (1 + border % 5, 1 + border % 3)
        first = delta.delta(table, layer, rows.part(0, border), state, middle, cuts)
        second = delta.delta(table, layer, rows.part(border, count), middle, last)
        assert same_bits(np.concatenate([first, second]), whole), f"border {border}"
        assert all(same_bits(*pair) for pair in zip(last, end, strict=True)), f"border {border}"


@pytest.mark.parametrize("sizes", [SIZES[1], ODD], ids=str)
def test_in_place_or_beside_or_not_kept(
    delta: DeltaKernels, table: str, sizes: tuple[int, ...]
) -> None:
    for count in (0, 1, 2, 3, 10):
        layer, rows, state = case(6, sizes, count)
        kept = State(*(part.copy() for part in state))
        end = layer.empty()
        out = delta.delta(table, layer, rows, state, end)
        assert all(same_bits(*pair) for pair in zip(state, kept, strict=True)), "source written"
        assert same_bits(delta.delta(table, layer, rows, state), out)
        assert same_bits(delta.delta(table, layer, rows, kept, kept), out)
        assert all(same_bits(*pair) for pair in zip(kept, end, strict=True))
        if count == 0:
            assert all(same_bits(*pair) for pair in zip(end, state, strict=True))


def test_no_source_is_zeros(delta: DeltaKernels, table: str) -> None:
    for count in (0, 1, 7):
        layer, rows, state = case(7, ODD, count)
        zeros = State(*(np.zeros_like(part) for part in state))
        ends = layer.empty(), layer.empty()
        outs = [
            delta.delta(table, layer, rows, source, end)
            for source, end in zip((None, zeros), ends, strict=True)
        ]
        assert same_bits(*outs)
        assert all(same_bits(*pair) for pair in zip(*ends, strict=True))


def test_ten_thousand_single_tokens(delta: DeltaKernels, table: str) -> None:
    count = 1_000 if table == "cuda-emulated" else 10_000  # it runs 256 threads a head
    layer, rows, state = case(8, (2, 4, 8, 12, 4), count)
    end = layer.empty()
    whole = delta.delta(table, layer, rows, state, end)
    for t in range(count):
        out = delta.delta(table, layer, rows.part(t, t + 1), state, state)
        if t % 500 == 499:
            assert same_bits(out[0], whole[t])
    assert np.isfinite(whole).all()
    assert np.isfinite(state.delta).all()
    assert all(same_bits(*pair) for pair in zip(state, end, strict=True))
