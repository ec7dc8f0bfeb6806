"""Blocks: error bounds, exact cases, the ends of fp16, and the scale search against brute force."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from hypothesis import given, settings
from hypothesis import strategies as st

from stepguard.errors import ExportError
from stepguard.export.quantise import int4_blocks, int8_blocks, unpack_q4_0, unpack_q8_0


def normal(rows: int, k: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, k)).astype(np.float32)


def relative_error(rows: np.ndarray, approximation: np.ndarray) -> float:
    return float(((rows - approximation) ** 2).sum() / (rows**2).sum())


@pytest.mark.parametrize("k", [1, 31, 32, 33, 72, 256])
@pytest.mark.parametrize("quantise", [int8_blocks, int4_blocks])
def test_padding_is_zero(k: int, quantise: object) -> None:
    blocks = quantise(normal(5, k))  # type: ignore[operator]
    padded = -(-k // 32) * 32
    assert blocks.values.shape == (5, padded)
    assert blocks.scales.shape == (5, padded // 32)
    assert not blocks.values[:, k:].any()
    assert blocks.floats(k).shape == (5, k)


def test_int8_error_is_half_a_step() -> None:
    rows = normal(16, 320) * np.logspace(-4, 4, 16, dtype=np.float32)[:, None]
    blocks = int8_blocks(rows)
    step = np.repeat(blocks.scales.astype(np.float32), 32, axis=1)
    # fp16 rounds the scale by up to 2^-11, so the peak may be off by a little more.
    assert (np.abs(rows - blocks.floats(320)) <= 0.5 * step * (1 + 2.0**-4)).all()
    assert np.abs(blocks.values).max() == 127


def test_int4_beats_the_plain_scales() -> None:
    rows = normal(64, 512)
    found = relative_error(rows, int4_blocks(rows).floats(512))
    packed = gguf.quants.quantize(rows, Kind.Q4_0)
    assert found < 0.92 * relative_error(rows, gguf.quants.dequantize(packed, Kind.Q4_0))
    step = np.abs(rows.reshape(64, -1, 32)).max(axis=2, keepdims=True) / 7
    plain = (np.rint(rows.reshape(64, -1, 32) / step) * step).reshape(64, 512)
    assert found < 0.75 * relative_error(rows, plain)


def test_int4_search_is_near_the_best_scale() -> None:
    blocks = normal(40, 32, seed=3)
    found = ((int4_blocks(blocks).floats(32) - blocks) ** 2).sum(axis=1)
    best = np.full(40, np.inf)
    for sign in (1, -1):
        for share in np.linspace(0.05, 0.25, 400):
            scale = (sign * share * np.abs(blocks).max(axis=1, keepdims=True)).astype(np.float32)
            q = np.rint(blocks / scale).clip(-8, 7)
            best = np.minimum(best, ((q * scale - blocks) ** 2).sum(axis=1))
    assert found.mean() < 1.1 * best.mean()


def test_int4_keeps_what_it_can_hold() -> None:
    values = np.random.default_rng(1).integers(-8, 8, (9, 64)).astype(np.float32)
    values[:, ::32] = -8  # the block really uses the range
    blocks = int4_blocks(values * np.float32(0.25))
    assert np.array_equal(blocks.floats(64), values * 0.25)


def test_zeros_have_scale_zero() -> None:
    for quantise in (int8_blocks, int4_blocks):
        blocks = quantise(np.zeros((2, 64), np.float32))
        assert not blocks.scales.any()
        assert not blocks.values.any()


def test_scales_beyond_fp16_are_refused() -> None:
    for quantise in (int8_blocks, int4_blocks):
        with pytest.raises(ExportError, match=r"block scales up to 65504.*float32"):
            quantise(np.full((1, 32), 3e7, np.float32))


@pytest.mark.parametrize("size", [1e-3, 1e-5, 1e-6, 2e-7, 1e-9, 1e-30])
def test_scales_below_fp16_are_clamped(size: float) -> None:
    rows = normal(4, 64) * np.float32(size)
    for quantise, low in ((int8_blocks, -127), (int4_blocks, -8)):
        blocks = quantise(rows)
        assert blocks.scales.all()
        assert blocks.values.min() >= low
        # A weight below half the smallest scale becomes zero; nothing is off by more than a step.
        step = np.repeat(np.abs(blocks.scales.astype(np.float32)), 32, axis=1)
        assert (np.abs(blocks.floats(64) - rows) <= step * 1.01).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e4))
def test_int8_never_clips(seed: int, size: float) -> None:
    rows = (normal(2, 32, seed) * size).astype(np.float32)
    blocks = int8_blocks(rows)
    step = np.repeat(blocks.scales.astype(np.float32), 32, axis=1)
    assert (np.abs(rows - blocks.floats(32)) <= 0.6 * step).all()


def test_kept_blocks_are_bit_exact() -> None:
    rows = normal(6, 96)
    for kind, unpack in ((Kind.Q8_0, unpack_q8_0), (Kind.Q4_0, unpack_q4_0)):
        packed = gguf.quants.quantize(rows, kind)
        blocks = unpack(packed, "w")
        cells = packed.reshape(6, 3, -1)
        assert blocks.scales.tobytes() == np.ascontiguousarray(cells[..., :2]).tobytes()
        assert np.array_equal(blocks.floats(96), gguf.quants.dequantize(packed, kind))
        for row, block, place in ((0, 0, 0), (3, 1, 15), (5, 2, 16), (2, 2, 31)):
            if kind == Kind.Q8_0:
                stored = cells[row, block, 2 + place].astype(np.int8)
            else:
                byte = int(cells[row, block, 2 + place % 16])
                stored = (byte >> 4 if place >= 16 else byte & 15) - 8
            assert blocks.values[row, 32 * block + place] == stored
