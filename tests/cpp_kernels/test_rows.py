"""RmsNorm, Embed and rows of the output table."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_library import Kernels
from kernel_oracles import assert_close, int8_table, normal, rms_norm, same_bits
from kernel_types import Array

WIDTHS = [1, 5, 7, 8, 9, 31, 32, 33, 100, 576, 1536]


@pytest.mark.parametrize("width", WIDTHS)
def test_rms_norm(kernels: Kernels, table: str, width: int) -> None:
    rng = np.random.default_rng(width)
    x, weight = normal(rng, 4, width), normal(rng, width)
    for offset in (0.0, 1.0):
        got = kernels.rms_norm(table, x, weight, offset)
        assert_close(got, rms_norm(x, weight, offset), "rms_norm")
        assert same_bits(kernels.rms_norm(table, x, weight, offset, in_place=True), got)
        for row in range(4):
            assert same_bits(kernels.rms_norm(table, x[row : row + 1], weight, offset)[0], got[row])


def test_rms_norm_extremes(kernels: Kernels, table: str) -> None:
    weight = np.ones(20, np.float32)
    assert kernels.rms_norm(table, np.empty((0, 20), np.float32), weight).shape == (0, 20)
    assert (kernels.rms_norm(table, np.zeros((1, 20), np.float32), weight) == 0).all()
    large = np.full((1, 20), 1e30, np.float32)  # its square is no float32
    assert_close(kernels.rms_norm(table, large, weight), np.ones((1, 20)), "rms_norm")
    for bad in (np.nan, np.inf, -np.inf):
        x = np.ones((3, 20), np.float32)
        x[1, 17] = bad
        y = kernels.rms_norm(table, x, weight)
        assert np.isnan(y[1]).any()
        assert np.isfinite(y[[0, 2]]).all()
    x[1, 17] = np.nan
    assert np.isnan(kernels.rms_norm(table, x, weight)[1]).all()


def _table(rng: np.random.Generator, width: int, kind: str) -> tuple[Array, Array | None, Array]:
    if kind == "int8":
        return int8_table(rng, 9, width)
    data = normal(rng, 9, width)
    return data, None, data.astype(np.float64)


@pytest.mark.parametrize("kind", ["int8", "float32"])
@pytest.mark.parametrize("width", WIDTHS)
def test_table_rows(kernels: Kernels, table: str, width: int, kind: str) -> None:
    rng = np.random.default_rng(width)
    data, scales, dense = _table(rng, width, kind)
    ids = np.array([8, 0, 3, 3], np.int32)
    assert (kernels.embed(table, ids, data, scales) == dense[ids]).all()
    assert kernels.embed(table, ids[:0], data, scales).shape == (0, width)
    x = normal(rng, width)
    for row in ids:
        got = kernels.read_row(table, x, int(row), data, scales)
        exact = x * dense[row]
        assert_close(got, exact.sum(), "sum", np.abs(exact).sum())


@pytest.mark.parametrize("kind", ["int8", "float32"])
@pytest.mark.parametrize("width", WIDTHS)
def test_many_rows_are_single_rows(kernels: Kernels, table: str, width: int, kind: str) -> None:
    """Bit for bit, however many there are and wherever the range is cut."""
    rng = np.random.default_rng(width)
    data, scales, _ = _table(rng, width, kind)
    x = normal(rng, 5, width)
    single = [[kernels.read_row(table, row, id, data, scales) for id in range(9)] for row in x]
    expected = np.array(single, np.float32)
    for rows in range(6):
        for begin, end in ((0, 9), (3, 4), (8, 9), (5, 5)):
            got = kernels.read_rows(table, x[:rows], begin, end, data, scales)
            assert same_bits(got, expected[:rows, begin:end])


@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_read_row_spreads_nan(kernels: Kernels, table: str, kind: str) -> None:
    rng = np.random.default_rng(1)
    data, scales, _ = _table(rng, 45, kind)
    for bad in (np.nan, np.inf):
        for place in (0, 31, 32, 44):
            x = normal(rng, 45)
            x[place] = bad
            assert not np.isfinite(kernels.read_row(table, x, 2, data, scales))
    if scales is not None:
        scales[2] = 0
        assert kernels.read_row(table, normal(rng, 45), 2, data, scales) == 0
