"""Packed layouts, cell by cell as the contract of the model directory says."""

from __future__ import annotations

import numpy as np
import pytest

from stepguard.export import panels
from stepguard.export.quantise import Blocks


@pytest.mark.parametrize(("n", "k"), [(1, 5), (16, 32), (17, 33), (40, 96)])
def test_float32(n: int, k: int) -> None:
    rows = np.random.default_rng(0).standard_normal((n, k)).astype(np.float32)
    packed = panels.pack_float32(panels.pad_rows(rows))
    assert packed.shape == panels.weight_shape("float32", panels.panels_of(n), k)
    for row in range(len(packed) * 16):
        expected = rows[row] if row < n else np.zeros(k)
        assert np.array_equal(packed[row // 16, :, row % 16], expected)


def blocks_of(n: int, k: int, low: int, high: int) -> Blocks:
    generator = np.random.default_rng(n)
    padded = -(-k // 32) * 32
    values = generator.integers(low, high + 1, (n, padded)).astype(np.int8)
    values[:, k:] = 0
    scales = generator.standard_normal((n, padded // 32)).astype(np.float16)
    return panels.pad_blocks(Blocks(values, scales))


@pytest.mark.parametrize(("n", "k"), [(1, 5), (16, 32), (17, 33), (40, 96)])
def test_int8(n: int, k: int) -> None:
    blocks = blocks_of(n, k, -127, 127)
    packed = panels.pack_int8(blocks.values)
    assert packed.shape == panels.weight_shape("int8", panels.panels_of(n), k)
    for row, column in np.ndindex(blocks.values.shape):
        cell = packed[row // 16, column // 4, row % 16, column % 4]
        assert cell == blocks.values[row, column]


@pytest.mark.parametrize(("n", "k"), [(1, 5), (16, 32), (17, 33), (40, 96)])
def test_int4(n: int, k: int) -> None:
    blocks = blocks_of(n, k, -8, 7)
    packed = panels.pack_int4(blocks.values)
    assert packed.shape == panels.weight_shape("int4", panels.panels_of(n), k)
    words = np.ascontiguousarray(packed).view("<u4")[..., 0]
    for row, column in np.ndindex(blocks.values.shape):
        nibble = (int(words[row // 16, column // 8, row % 16]) >> (4 * (column % 8))) & 15
        assert nibble == blocks.values[row, column] + 8


def test_scales_and_padding() -> None:
    blocks = blocks_of(17, 33, -8, 7)
    packed = panels.pack_scales(blocks.scales)
    assert packed.shape == panels.scales_shape(2, 33) == (2, 2, 16)
    for row, block in np.ndindex(blocks.scales.shape):
        assert packed[row // 16, block, row % 16] == blocks.scales[row, block]
    assert not blocks.scales[17:].any()
    assert not blocks.values[17:].any()
