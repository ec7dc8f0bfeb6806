"""Linear in bfloat16, where a table has it: close to the oracle, and the same however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_library import Kernels
from kernel_oracles import assert_close, bfloat16_rows, linear, make_weights, normal, same_bits
from kernel_types import Floats

formats = pytest.mark.parametrize("weight_format", ["int4", "int8"])
# n, k: one, odd, a block or a panel more or less, several slices of k, a real layer.
SIZES = [(1, 1), (7, 33), (8, 8), (9, 31), (15, 64), (17, 257), (50, 600), (576, 1536)]


@formats
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_close_to_oracle(
    kernels: Kernels, able: str, weight_format: str, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(3)
    for epilogue in ("none", "residual", "swiglu"):
        pair = epilogue == "swiglu"
        n, k = size[0] * (2 if pair else 1), size[1]
        weights = make_weights(rng, weight_format, n, k, swiglu=pair, bias=not pair, bfloat16=True)
        for rows in (0, 1, 15, 16, 17, 33, 70):
            x = normal(rng, rows, k)
            residual = normal(rng, rows, n) if epilogue == "residual" else None
            got = kernels.linear(able, weights, x, epilogue, residual, "bf16")
            wanted, magnitude = linear(weights, bfloat16_rows(x), epilogue, residual)
            assert_close(got, wanted, "sum", magnitude)


@formats
def test_weights_are_cut_around_their_value(
    kernels: Kernels, able: str, weight_format: str
) -> None:
    """Each within 2^-8 of the exact one, and in the mean not smaller."""
    shape = (np.random.default_rng(9), weight_format, 480, 64)
    exact = make_weights(*shape).dense
    cut = make_weights(np.random.default_rng(9), *shape[1:], bfloat16=True)
    eye = np.eye(64, dtype=np.float32)
    got = kernels.linear(able, cut, eye, activations="bf16")
    assert (got == cut.dense.astype(np.float32)).all()
    error = (got - exact)[exact != 0] / exact[exact != 0]
    assert np.abs(error).max() < 2.0**-7
    assert abs(error.mean()) < 2.0**-12
    assert error.std() > 2.0**-10


@formats
def test_error_beside_the_exact_product(kernels: Kernels, able: str, weight_format: str) -> None:
    rng = np.random.default_rng(14)
    weights, x = make_weights(rng, weight_format, 64, 3584), normal(rng, 16, 3584)
    exact, _ = linear(weights, x, "none", None)
    error = kernels.linear(able, weights, x, activations="bf16") - exact
    relative = float(np.sqrt((error**2).mean() / (exact**2).mean()))
    assert 5e-4 < relative < 3e-3  # rows in 8 bits beside int4 weights: 6e-3


@pytest.mark.parametrize("epilogue", ["none", "residual", "swiglu"])
@formats
def test_rows_and_columns_do_not_depend_on_the_cut(
    kernels: Kernels, able: str, weight_format: str, epilogue: str
) -> None:
    rng = np.random.default_rng(5)
    pair = epilogue == "swiglu"
    n, k, most = (150, 1100, 640) if able != "generic" else (70, 333, 40)
    weights = make_weights(rng, weight_format, n, k, swiglu=pair, bias=not pair)
    x = normal(rng, most, k)
    residual = normal(rng, most, n) if epilogue == "residual" else None

    def run(rows: list[int], unit_cut: int = 1 << 40) -> Floats:
        part = None if residual is None else residual[rows]
        return kernels.linear(
            able, weights, x[rows], epilogue, part, "bf16", block_cut=2, unit_cut=unit_cut
        )

    whole = run(list(range(most)))
    for count in (*range(1, 20), 31, 32, 33, 39):
        rows = list(range(1, 1 + count))
        assert same_bits(run(rows), whole[rows]), f"{count} rows"
        assert same_bits(run(rows[::-1]), whole[rows[::-1]]), f"{count} rows, reversed"
        assert same_bits(run(rows, unit_cut=1 + count % 3), whole[rows]), f"{count} rows, cut"


@formats
def test_what_is_no_number_stays_in_its_row(
    kernels: Kernels, able: str, weight_format: str
) -> None:
    rng = np.random.default_rng(7)
    weights = make_weights(rng, weight_format, 40, 70)
    for bad in (np.nan, -np.nan, np.inf, -np.inf, np.finfo(np.float32).max):
        for place in (0, 31, 69):
            x = normal(rng, 18, 70)
            x[3, place] = bad
            y = kernels.linear(able, weights, x, activations="bf16")
            if np.isnan(bad):
                assert np.isnan(y[3]).all()
            elif np.isinf(bad):
                assert not np.isfinite(y[3]).any()
            rest = [row for row in range(18) if row != 3]
            alone = kernels.linear(able, weights, x[rest], activations="bf16")
            assert same_bits(y[rest], alone)


@formats
def test_extreme_rows_and_scales(kernels: Kernels, able: str, weight_format: str) -> None:
    rng = np.random.default_rng(12)
    weights = make_weights(rng, weight_format, 20, 70, bfloat16=True)
    for size in (0.0, 1e-42, 1e-30, 1e30):
        x = normal(rng, 5, 70) * np.float32(size)
        wanted, magnitude = linear(weights, bfloat16_rows(x), "none", None)
        got = kernels.linear(able, weights, x, activations="bf16")
        assert_close(got / max(size, 1e-30), wanted / max(size, 1e-30), "sum", magnitude / 1e-30)
    quiet = make_weights(rng, weight_format, 33, 64, scale_kind="zeros")
    x = normal(rng, 6, 64)
    y = kernels.linear(able, quiet, x, activations="bf16")
    assert (y[:, ::2] == 0).all()
    assert (y[:, 1::2] != 0).all()
    x[:, 5] = np.nan
    assert np.isnan(kernels.linear(able, quiet, x, activations="bf16")).all()
