"""Linear: close to the oracle, and bit for bit the same however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_library import Kernels
from kernel_oracles import assert_close, linear, make_weights, normal, same_bits
from kernel_types import Floats, Weights

FORMATS = ["float32", "int8", "int4"]
# n, k: one, odd, a vector or a panel more or less, several slices of k, a real layer.
SIZES = [(1, 1), (7, 33), (8, 8), (9, 31), (15, 64), (16, 255), (17, 257), (50, 600), (576, 192)]


def _residual(rng: np.random.Generator, epilogue: str, rows: int, n: int) -> Floats | None:
    return normal(rng, rows, n) if epilogue == "residual" else None


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_close_to_oracle(
    kernels: Kernels, table: str, weight_format: str, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(3)
    for epilogue in ("none", "residual", "swiglu"):
        pair = epilogue == "swiglu"
        n, k = size[0] * (2 if pair else 1), size[1]
        weights = make_weights(rng, weight_format, n, k, swiglu=pair, bias=not pair)
        for rows in (0, 1, 2, 3, 4, 6, 7, 13):
            x, residual = normal(rng, rows, k), _residual(rng, epilogue, rows, n)
            got = kernels.linear(table, weights, x, epilogue, residual)
            wanted, magnitude = linear(weights, x, epilogue, residual)
            assert_close(got, wanted, "sum", magnitude)


@pytest.mark.parametrize("weight_format", FORMATS)
def test_real_layers(kernels: Kernels, table: str, weight_format: str) -> None:
    rng = np.random.default_rng(4)
    for epilogue, n, k in (("swiglu", 2 * 1536, 576), ("residual", 576, 1536)):
        weights = make_weights(rng, weight_format, n, k, swiglu=epilogue == "swiglu")
        x, residual = normal(rng, 5, k) * np.float32(0.1), _residual(rng, epilogue, 5, n)
        wanted, magnitude = linear(weights, x, epilogue, residual)
        got = kernels.linear(table, weights, x, epilogue, residual)
        assert_close(got, wanted, "sum", magnitude)


@pytest.mark.parametrize("epilogue", ["none", "residual", "swiglu"])
@pytest.mark.parametrize("weight_format", FORMATS)
def test_rows_do_not_depend_on_each_other(
    kernels: Kernels, table: str, weight_format: str, epilogue: str
) -> None:
    rng = np.random.default_rng(5)
    pair = epilogue == "swiglu"
    weights = make_weights(rng, weight_format, 150, 333, swiglu=pair, bias=not pair)
    x, residual = normal(rng, 110, 333), _residual(rng, epilogue, 110, 150)

    def run(rows: list[int]) -> Floats:
        part = None if residual is None else residual[rows]
        return kernels.linear(table, weights, x[rows], epilogue, part)

    whole = run(list(range(110)))
    for count in (*range(1, 14), 97):
        rows = list(range(7, 7 + count))
        assert same_bits(run(rows), whole[rows]), f"{count} rows"
        assert same_bits(run(rows[::-1]), whole[rows[::-1]]), f"{count} rows, reversed"


@pytest.mark.parametrize("epilogue", ["none", "swiglu"])
@pytest.mark.parametrize("weight_format", FORMATS)
def test_columns_do_not_depend_on_the_cut(
    kernels: Kernels, table: str, weight_format: str, epilogue: str
) -> None:
    rng = np.random.default_rng(6)
    weights = make_weights(rng, weight_format, 230, 100, swiglu=epilogue == "swiglu")
    for rows in (1, 2, 3, 9):
        x = normal(rng, rows, 100)
        whole = kernels.linear(table, weights, x, epilogue)
        for cut in (1, 2, 3, 5):
            part = kernels.linear(table, weights, x, epilogue, block_cut=cut, unit_cut=cut)
            assert same_bits(part, whole), f"{rows} rows, {cut} units a call"


@pytest.mark.parametrize("weight_format", FORMATS)
def test_nan_and_inf_reach_every_output_of_their_row(
    kernels: Kernels, table: str, weight_format: str
) -> None:
    rng = np.random.default_rng(7)
    for epilogue in ("none", "swiglu"):
        weights = make_weights(rng, weight_format, 40, 70, swiglu=epilogue == "swiglu")
        for bad in (np.nan, np.inf, -np.inf):
            for place in (0, 31, 69):
                x = normal(rng, 8, 70)
                x[3, place] = bad
                y = kernels.linear(table, weights, x, epilogue)
                if epilogue == "none" or np.isnan(bad):  # silu(-Inf) may be 0
                    assert not np.isfinite(y[3]).any()
                others = [row for row in range(8) if row != 3]
                assert same_bits(y[others], kernels.linear(table, weights, x[others], epilogue))


@pytest.mark.parametrize("weight_format", ["int8", "int4"])
def test_zero_scales(kernels: Kernels, table: str, weight_format: str) -> None:
    rng = np.random.default_rng(8)
    weights = make_weights(rng, weight_format, 33, 64, scale_kind="zeros")
    for rows in (1, 6):
        x = normal(rng, rows, 64)
        y = kernels.linear(table, weights, x)
        assert (y[:, ::2] == 0).all()
        assert (y[:, 1::2] != 0).all()
        x[:, 5] = np.nan
        assert np.isnan(kernels.linear(table, weights, x)).all()


@pytest.mark.parametrize("weight_format", ["int8", "int4"])
def test_weights_are_exact(kernels: Kernels, table: str, weight_format: str) -> None:
    """A row of the identity reads the weights themselves, whatever the scale."""
    rng = np.random.default_rng(9)
    weights = make_weights(rng, weight_format, 48, 64, scale_kind="any")
    eye = np.eye(64, dtype=np.float32)
    for rows in (1, 2, 4, 64):
        for first in range(0, 64, rows):
            got = kernels.linear(table, weights, eye[first : first + rows])
            assert (got == weights.dense[first : first + rows].astype(np.float32)).all()


def test_silu(kernels: Kernels, table: str) -> None:
    """x = (g, 1) with gate column (1, 0) and up column (0, 1) gives silu(g) alone."""
    matrix = np.zeros((2, 2, 16), np.float32)
    matrix[0, 0, 0] = matrix[1, 1, 0] = 1
    dense = np.eye(2)
    weights = Weights("float32", 2, 2, matrix, None, dense)
    gates = np.concatenate(
        [np.linspace(-87, 30, 40001), [0.0, -0.0, 88.0, 1e30, 1e-30, -1e-30]]
    ).astype(np.float32)
    x = np.stack([gates, np.ones_like(gates)], axis=1)
    exact = gates.astype(np.float64)
    got = kernels.linear(table, weights, x, "swiglu")[:, 0]
    assert_close(got, exact / (1 + np.exp(-exact)), "silu")
    x[:2, 0] = -200, -np.inf
    low = kernels.linear(table, weights, x[:2], "swiglu")[:, 0]
    assert abs(low[0]) < 1e-37
    assert low[1] == 0 or np.isnan(low[1])
