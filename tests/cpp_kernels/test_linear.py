"""Linear: close to the oracle, and bit for bit the same however it is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from kernel_library import Kernels
from kernel_oracles import (
    assert_close,
    linear,
    make_weights,
    normal,
    pack_int4,
    pack_int8,
    round_rows,
    same_bits,
)
from kernel_types import Floats, Weights

# Format of the weights, and what the rows are multiplied as.
PATHS = [
    ("float32", "fp32"),
    ("int8", "fp32"),
    ("int4", "fp32"),
    ("int8", "int8"),
    ("int4", "int8"),
]
paths = pytest.mark.parametrize(("weight_format", "activations"), PATHS)
# n, k: one, odd, a vector or a panel more or less, several slices of k, a real layer.
SIZES = [(1, 1), (7, 33), (8, 8), (9, 31), (15, 64), (16, 255), (17, 257), (50, 600), (576, 192)]


def _residual(rng: np.random.Generator, epilogue: str, rows: int, n: int) -> Floats | None:
    return normal(rng, rows, n) if epilogue == "residual" else None


def _seen(x: Floats, weight_format: str, activations: str) -> npt.NDArray[Any]:
    """What the rows stand for."""
    return x if activations == "fp32" else round_rows(x, weight_format)


@paths
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_close_to_oracle(
    kernels: Kernels, table: str, weight_format: str, activations: str, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(3)
    for epilogue in ("none", "residual", "swiglu"):
        pair = epilogue == "swiglu"
        n, k = size[0] * (2 if pair else 1), size[1]
        weights = make_weights(rng, weight_format, n, k, swiglu=pair, bias=not pair)
        for rows in (0, 1, 2, 3, 4, 6, 7, 13):
            x, residual = normal(rng, rows, k), _residual(rng, epilogue, rows, n)
            got = kernels.linear(table, weights, x, epilogue, residual, activations)
            seen = _seen(x, weight_format, activations)
            wanted, magnitude = linear(weights, seen, epilogue, residual)
            assert_close(got, wanted, "sum", magnitude)


@paths
def test_real_layers(kernels: Kernels, table: str, weight_format: str, activations: str) -> None:
    rng = np.random.default_rng(4)
    for epilogue, n, k in (("swiglu", 2 * 1536, 576), ("residual", 576, 1536)):
        weights = make_weights(rng, weight_format, n, k, swiglu=epilogue == "swiglu")
        x, residual = normal(rng, 5, k) * np.float32(0.1), _residual(rng, epilogue, 5, n)
        seen = _seen(x, weight_format, activations)
        wanted, magnitude = linear(weights, seen, epilogue, residual)
        got = kernels.linear(table, weights, x, epilogue, residual, activations)
        assert_close(got, wanted, "sum", magnitude)


# Root mean square of the error over that of the outputs: normal rows, uniform weights and scales.
ERROR = {("int8", "fp32"): 1.5e-6, ("int4", "fp32"): 1.5e-6, ("float32", "fp32"): 1.5e-6}
ERROR |= {("int8", "int8"): 3e-5, ("int4", "int8"): 7e-3}


@paths
def test_error_of_each_path(
    kernels: Kernels, table: str, weight_format: str, activations: str
) -> None:
    """What rounding rows and sums costs, beside the exact product."""
    rng = np.random.default_rng(14)
    weights, x = make_weights(rng, weight_format, 64, 3584), normal(rng, 16, 3584)
    exact, _ = linear(weights, x, "none", None)
    error = kernels.linear(table, weights, x, activations=activations) - exact
    relative = float(np.sqrt((error**2).mean() / (exact**2).mean()))
    bound = ERROR[weight_format, activations]
    assert relative < bound
    if activations == "int8":  # rows that were rounded show it
        assert relative > bound / 4


@pytest.mark.parametrize("epilogue", ["none", "residual", "swiglu"])
@paths
def test_rows_do_not_depend_on_each_other(
    kernels: Kernels, table: str, weight_format: str, activations: str, epilogue: str
) -> None:
    rng = np.random.default_rng(5)
    pair = epilogue == "swiglu"
    n, k = (150, 1100) if table != "generic" else (70, 333)
    weights = make_weights(rng, weight_format, n, k, swiglu=pair, bias=not pair)
    x, residual = normal(rng, 110, k), _residual(rng, epilogue, 110, n)

    def run(rows: list[int]) -> Floats:
        part = None if residual is None else residual[rows]
        return kernels.linear(table, weights, x[rows], epilogue, part, activations)

    whole = run(list(range(110)))
    for count in (*range(1, 14), 97):
        rows = list(range(7, 7 + count))
        assert same_bits(run(rows), whole[rows]), f"{count} rows"
        assert same_bits(run(rows[::-1]), whole[rows[::-1]]), f"{count} rows, reversed"


@pytest.mark.parametrize("epilogue", ["none", "swiglu"])
@paths
def test_columns_do_not_depend_on_the_cut(
    kernels: Kernels, table: str, weight_format: str, activations: str, epilogue: str
) -> None:
    rng = np.random.default_rng(6)
    weights = make_weights(rng, weight_format, 230, 100, swiglu=epilogue == "swiglu")
    for rows in (1, 2, 3, 9):
        x = normal(rng, rows, 100)
        whole = kernels.linear(table, weights, x, epilogue, None, activations)
        for cut in (1, 2, 3, 5):
            part = kernels.linear(
                table, weights, x, epilogue, None, activations, block_cut=cut, unit_cut=cut
            )
            assert same_bits(part, whole), f"{rows} rows, {cut} units a call"


@paths
def test_nan_and_inf_reach_every_output_of_their_row(
    kernels: Kernels, table: str, weight_format: str, activations: str
) -> None:
    rng = np.random.default_rng(7)
    for epilogue in ("none", "swiglu"):
        weights = make_weights(rng, weight_format, 40, 70, swiglu=epilogue == "swiglu")
        for bad in (np.nan, -np.nan, np.inf, -np.inf):
            for place in (0, 31, 69):
                x = normal(rng, 8, 70)
                x[3, place] = bad
                y = kernels.linear(table, weights, x, epilogue, None, activations)
                if epilogue == "none" or np.isnan(bad):  # silu(-Inf) may be 0
                    assert not np.isfinite(y[3]).any()
                if activations == "int8":
                    assert np.isnan(y[3]).all()
                rest = [row for row in range(8) if row != 3]
                alone = kernels.linear(table, weights, x[rest], epilogue, None, activations)
                assert same_bits(y[rest], alone)


@pytest.mark.parametrize("activations", ["fp32", "int8"])
@pytest.mark.parametrize("weight_format", ["int8", "int4"])
def test_zero_scales(kernels: Kernels, table: str, weight_format: str, activations: str) -> None:
    rng = np.random.default_rng(8)
    weights = make_weights(rng, weight_format, 33, 64, scale_kind="zeros")
    for rows in (1, 6):
        x = normal(rng, rows, 64)
        y = kernels.linear(table, weights, x, activations=activations)
        assert (y[:, ::2] == 0).all()
        assert (y[:, 1::2] != 0).all()
        x[:, 5] = np.nan
        assert np.isnan(kernels.linear(table, weights, x, activations=activations)).all()


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


@pytest.mark.parametrize("weight_format", ["int8", "int4"])
def test_rows_are_rounded_to_the_nearest_step(
    kernels: Kernels, table: str, weight_format: str
) -> None:
    """No output is further off than half a step of every element can bring it."""
    rng = np.random.default_rng(10)
    weights = make_weights(rng, weight_format, 40, 96)
    x = normal(rng, 9, 96) * np.float32(10.0) ** rng.integers(-6, 6, (9, 96)).astype(np.float32)
    steps = np.abs(x).reshape(9, 3, 32).max(axis=2) / {"int4": 127, "int8": 32767}[weight_format]
    size = np.abs(weights.dense).reshape(3, 32, 40).sum(axis=1)
    exact = x.astype(np.float64) @ weights.dense
    error = np.abs(kernels.linear(table, weights, x, activations="int8") - exact)
    bound = steps @ size / 2 + 1e-5 * (np.abs(x) @ np.abs(weights.dense))
    assert (error <= bound).all()
    assert error.max() > 0


@pytest.mark.parametrize("weight_format", ["int8", "int4"])
def test_integers_do_not_saturate(kernels: Kernels, table: str, weight_format: str) -> None:
    """The largest integers on both sides, of every sign."""
    low, high = (-128, 127) if weight_format == "int8" else (-8, 7)
    levels = 32767 if weight_format == "int8" else 127
    pack = pack_int8 if weight_format == "int8" else pack_int4
    rng = np.random.default_rng(11)
    columns = [np.full(64, low), np.full(64, high), np.where(np.arange(64) % 2, low, high)]
    columns += [rng.choice([low, high, 0, -1], 64) for _ in range(13)]
    values = np.stack(columns, axis=1).astype(np.int64)
    scales = np.ones((1, 2, 16), np.float16)
    weights = Weights(weight_format, 16, 64, pack(values), scales, values.astype(np.float64))
    signs = [np.ones(64), -np.ones(64), np.where(np.arange(64) % 2, 1, -1)]
    signs += [rng.choice([-1, 1], 64) for _ in range(6)]
    x = (np.stack(signs) * levels).astype(np.float32)  # the scale is 1: nothing is rounded
    for rows in (1, 4, 9):
        wanted, magnitude = linear(weights, x[:rows], "none", None)
        got = kernels.linear(table, weights, x[:rows], activations="int8")
        assert_close(got, wanted, "sum", magnitude)


@pytest.mark.parametrize("weight_format", ["int8", "int4"])
def test_sums_of_integers_are_exact(kernels: Kernels, table: str, weight_format: str) -> None:
    """One block of 32 whose scales are 1: the output is the sum of integers, rounded once."""
    (low, high), levels = {"int8": ((-128, 127), 32767), "int4": ((-8, 7), 127)}[weight_format]
    pack = pack_int8 if weight_format == "int8" else pack_int4
    rng = np.random.default_rng(13)
    values = rng.integers(low, high, (32, 48), endpoint=True)
    scales = np.ones((3, 1, 16), np.float16)
    weights = Weights(weight_format, 48, 32, pack(values), scales, values.astype(np.float64))
    for rows in (1, 2, 3, 4, 7, 13):
        x = rng.integers(-levels, levels, (rows, 32), endpoint=True)
        x[:, rows % 32] = levels
        wanted = (x @ values).astype(np.float32)
        got = kernels.linear(table, weights, x.astype(np.float32), activations="int8")
        assert same_bits(got, wanted)


@pytest.mark.parametrize("weight_format", ["int8", "int4"])
def test_extreme_rows(kernels: Kernels, table: str, weight_format: str) -> None:
    rng = np.random.default_rng(12)
    weights = make_weights(rng, weight_format, 20, 70)
    for rows in (1, 5):
        zeros = np.zeros((rows, 70), np.float32)
        zeros[:, ::2] = -0.0
        assert (kernels.linear(table, weights, zeros, activations="int8") == 0).all()
        quiet = np.full((rows, 70), 1e-42, np.float32)  # subnormal: below the least step
        assert (kernels.linear(table, weights, quiet, activations="int8") == 0).all()
        for size in (2.0**-100, 1e-30, 1e30, 1e36):
            x = normal(rng, rows, 70) * np.float32(size)
            x[:, 32:64] = 1e-42  # a quiet block beside loud ones
            wanted, magnitude = linear(weights, round_rows(x, weight_format), "none", None)
            got = kernels.linear(table, weights, x, activations="int8")
            assert_close(got / size, wanted / size, "sum", magnitude / size)
        x = np.full((rows, 70), np.finfo(np.float32).max, np.float32)
        got = kernels.linear(table, weights, x, activations="int8")  # Inf where it must be
        wanted, _ = linear(weights, round_rows(x, weight_format), "none", None)
        over = np.abs(wanted) > 1.001 * float(np.finfo(np.float32).max)
        assert not np.isfinite(got[over]).any()


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
