"""Attention: rotation and pages, softmax over blocks, and the bitwise law."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_library import Kernels
from kernel_oracles import (
    angles,
    assert_close,
    attention,
    filled_arena,
    normal,
    prepare,
    same_bits,
)
from kernel_types import PAGE, Floats, Shape

# heads, kv heads, head_dim: one, odd, a partial vector, real models, the largest.
SHAPES = [(1, 1, 1), (3, 3, 5), (6, 2, 80), (9, 3, 64), (4, 1, 128), (2, 1, 256), (7, 1, 36)]


def _shape(rng: np.random.Generator, dims: tuple[int, int, int], half: bool, **more: Any) -> Shape:
    norms = {"q_norm": normal(rng, dims[2]), "k_norm": normal(rng, dims[2]), **more}
    return Shape(*dims, kv_half=half, **norms)


def _queries(rng: np.random.Generator, shape: Shape, rows: int) -> Floats:
    return normal(rng, rows, shape.heads * shape.head_dim) * np.float32(2)


def _row(rng: np.random.Generator, shape: Shape) -> Floats:
    return normal(rng, (shape.heads + 2 * shape.kv_heads) * shape.head_dim)


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("dims", SHAPES, ids=str)
@pytest.mark.parametrize("partial", [False, True], ids=["full", "partial"])
def test_prepare(
    kernels: Kernels, table: str, dims: tuple[int, int, int], half: bool, partial: bool
) -> None:
    rng = np.random.default_rng(1)
    more: dict[str, Any] = {"norm_offset": 1.0}
    if partial:
        more = {"q_norm": None, "k_norm": None, "rotary_dim": dims[2] // 4 * 2}
    shape = _shape(rng, dims, half, **more)
    arena = shape.empty_arena(1)
    assert kernels.page_bytes(shape) == arena[0].nbytes
    for position in (0, 5, 4000):
        slot = position % PAGE
        qkv, turn = _row(rng, shape), angles(position, shape.rotary_dim)
        before = arena.copy()
        q = kernels.prepare(table, shape, qkv, turn, arena[0], slot)
        wanted_q, wanted_k, wanted_v = prepare(shape, qkv, turn)
        size = np.abs(wanted_q).max(axis=1, keepdims=True)
        assert_close(q.reshape(wanted_q.shape), wanted_q, "rotary", size + 0 * wanted_q)
        keys, values = shape.keys(arena[0])[:, :, slot], shape.values(arena[0])[:, slot]
        kind, size = ("page_half", None) if half else ("rotary", np.abs(wanted_k).max() + 0 * keys)
        assert_close(keys, wanted_k, kind, size)
        assert same_bits(values, wanted_v.astype(shape.page_type))
        shape.keys(before[0])[:, :, slot] = keys
        shape.values(before[0])[:, slot] = values
        assert same_bits(arena, before), "another slot was written"


def test_prepare_by_head_ranges(kernels: Kernels, table: str) -> None:
    rng = np.random.default_rng(2)
    shape = _shape(rng, (6, 3, 20), True)
    qkv, turn = _row(rng, shape), angles(77, 20)
    whole, parts = shape.empty_arena(1), shape.empty_arena(1)
    q = kernels.prepare(table, shape, qkv, turn, whole[0], 4)
    first = kernels.prepare(table, shape, qkv, turn, parts[0], 4, heads=(0, 1))
    last = kernels.prepare(table, shape, qkv, turn, parts[0], 4, heads=(1, 3))
    assert same_bits(parts, whole)
    assert same_bits(np.concatenate([first[:40], last[40:]]), q)
    assert np.isnan(first[40:]).all()
    assert np.isnan(last[:40]).all()


def test_prepare_spreads_nan_and_overflow(kernels: Kernels, table: str) -> None:
    rng = np.random.default_rng(3)
    shape = Shape(2, 1, 16, kv_half=True)
    qkv, turn, arena = _row(rng, shape), angles(0, 16), shape.empty_arena(1)
    qkv[0], qkv[32 + 1], qkv[48 + 2] = np.nan, 1e6, -1e6
    q = kernels.prepare(table, shape, qkv, turn, arena[0], 0)
    assert np.isnan(q[0])
    assert shape.keys(arena[0])[0, 1, 0] == np.inf
    assert shape.values(arena[0])[0, 0, 2] == -np.inf


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("dims", SHAPES, ids=str)
def test_close_to_oracle(
    kernels: Kernels, table: str, dims: tuple[int, int, int], half: bool
) -> None:
    rng = np.random.default_rng(4)
    shape = _shape(rng, dims, half)
    for position, rows in ((0, 1), (0, 40), (31, 1), (31, 2), (32, 33), (100, 5)):
        arena, pages = filled_arena(rng, shape, position + rows)
        q = _queries(rng, shape, rows)
        got = kernels.attention(table, shape, q, position, pages, arena)
        kind = "attention_tiles" if table == "amx" and half else "attention"
        assert_close(got, attention(shape, q, position, pages, arena), kind)
    assert kernels.attention(table, shape, q[:0], 0, pages, arena).shape[0] == 0


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("dims", SHAPES, ids=str)
def test_rows_do_not_depend_on_the_tile(
    kernels: Kernels, table: str, dims: tuple[int, int, int], half: bool
) -> None:
    rng = np.random.default_rng(5)
    shape = _shape(rng, dims, half)
    rows, position = (70, 20) if table != "generic" else (20, 20)
    arena, pages = filled_arena(rng, shape, position + rows)
    q = _queries(rng, shape, rows)
    whole = kernels.attention(table, shape, q, position, pages, arena)
    for cut in (1, 2, 3, 7, 16):
        part = kernels.attention(table, shape, q, position, pages, arena, row_cut=cut)
        assert same_bits(part, whole), f"{cut} rows a call"


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("dims", [(3, 3, 5), (9, 3, 64), (2, 1, 128)], ids=str)
def test_slots_beyond_a_row_do_not_matter(
    kernels: Kernels, table: str, dims: tuple[int, int, int], half: bool
) -> None:
    """Stale slots may hold anything; so may later rows of the same call."""
    rng = np.random.default_rng(6)
    shape = _shape(rng, dims, half)
    results = []
    for stale in (np.nan, np.inf, 0.0, 1e4):
        arena, pages = filled_arena(np.random.default_rng(7), shape, 45, stale)
        q = _queries(np.random.default_rng(8), shape, 5)
        results.append(kernels.attention(table, shape, q, 40, pages, arena))
    assert all(same_bits(result, results[0]) for result in results)
    assert np.isfinite(results[0]).all()
    shape.keys(arena[pages[1]])[:, :, 43 - PAGE] = np.nan
    shape.values(arena[pages[1]])[:, 43 - PAGE] = np.nan
    late = kernels.attention(table, shape, q, 40, pages, arena)
    assert same_bits(late[:3], results[0][:3])
    assert np.isnan(late[3:]).all()


def test_nan_spreads(kernels: Kernels, table: str) -> None:
    rng = np.random.default_rng(9)
    shape = Shape(2, 1, 16, kv_half=False)
    arena, pages = filled_arena(rng, shape, 70)
    for bad in (np.nan, np.inf):
        q = _queries(rng, shape, 3)
        clean = kernels.attention(table, shape, q, 67, pages, arena)
        q[1, 20] = bad  # in the second head
        y = kernels.attention(table, shape, q, 67, pages, arena)
        assert np.isnan(y[1, 16:]).all()
        assert same_bits(y[[0, 2]], clean[[0, 2]])
        assert same_bits(y[1, :16], clean[1, :16])
    q = _queries(rng, shape, 2)
    shape.values(arena[pages[0]])[0, 3, 5] = np.nan
    y = kernels.attention(table, shape, q, 40, pages, arena).reshape(2, 2, 16)
    assert np.isnan(y[:, :, 5]).all()
    assert np.isfinite(np.delete(y, 5, axis=2)).all()


def test_large_scores(kernels: Kernels, table: str) -> None:
    """One key far above the others: its value, nothing else, and no overflow."""
    shape = Shape(1, 1, 8, kv_half=False, scale=1.0)
    arena, pages = filled_arena(np.random.default_rng(10), shape, 80)
    for place in (0, 31, 32, 79):
        q = np.zeros((1, 8), np.float32)
        q[0, 0] = 1e4
        shape.keys(arena[pages[place // PAGE]])[0, 0, place % PAGE] = 1e4
        y = kernels.attention(table, shape, q, 79, pages, arena)
        assert same_bits(y[0], shape.values(arena[pages[place // PAGE]])[0, place % PAGE])
        shape.keys(arena[pages[place // PAGE]])[0, 0, place % PAGE] = -1e4


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("count", [0, 1, 13, 31, 32])
def test_copy_page(kernels: Kernels, table: str, half: bool, count: int) -> None:
    rng = np.random.default_rng(11)
    shape = Shape(4, 2, 10, kv_half=half)
    source, _ = filled_arena(rng, shape, PAGE)
    target, _ = filled_arena(rng, shape, PAGE)
    wanted = target.copy()
    for planes in (shape.keys, shape.values):
        index = np.s_[:, :, :count] if planes == shape.keys else np.s_[:, :count]
        planes(wanted[0])[index] = planes(source[0])[index]
    kernels.copy_page(table, shape, source[0], target[0], count)
    assert same_bits(target, wanted)
