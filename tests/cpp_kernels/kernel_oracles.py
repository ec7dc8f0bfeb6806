"""What the kernels should answer, in numpy float64, and how far from it they may be."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from kernel_types import PAGE, Array, Doubles, Floats, Shape, Weights

PANEL = 16
BLOCK = 32

# |got - wanted| <= absolute + relative * |wanted|. Sums are measured against the sum of magnitudes
# of their terms, which bounds what rounding can do.
TOLERANCE = {
    "rms_norm": (1e-7, 5e-7),
    "sum": (1e-7, 2e-6),
    "silu": (1e-30, 6e-7),
    "rotary": (1e-6, 1e-6),
    "page_half": (1e-6, 1.1e-3),
    "attention": (5e-6, 5e-6),
    "attention_tiles": (2e-5, 2e-5),  # numbers of 17 bits
}


def assert_close(
    got: npt.ArrayLike, wanted: npt.ArrayLike, kind: str, magnitude: npt.ArrayLike | None = None
) -> None:
    """Every element within the tolerance of its kind."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    assert got.shape == wanted.shape
    absolute, relative = TOLERANCE[kind]
    scale = np.abs(wanted) if magnitude is None else np.asarray(magnitude, np.float64)
    with np.errstate(invalid="ignore"):
        over = ~(np.abs(got - wanted) <= absolute + relative * scale)
    assert not over.any(), (
        f"{over.sum()} of {over.size} over the tolerance of {kind}, first "
        f"{got[over][0]!r} for {wanted[over][0]!r}"
    )


def same_bits(a: Array, b: Array) -> bool:
    """Equal shapes and bytes, so that NaN equals itself and 0 differs from -0."""
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def normal(rng: np.random.Generator, *shape: int) -> Floats:
    return rng.standard_normal(shape).astype(np.float32)


def rms_norm(x: Array, weight: Floats, offset: float, epsilon: float = 1e-6) -> Doubles:
    x = x.astype(np.float64)
    mean = np.mean(x * x, axis=-1, keepdims=True)
    return np.asarray(x / np.sqrt(mean + np.float32(epsilon)) * (offset + weight.astype(float)))


def int8_table(
    rng: np.random.Generator, rows: int, width: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float16], Doubles]:
    """A table [rows, width], its scales, and what it stands for."""
    data = rng.integers(-128, 128, (rows, width), dtype=np.int8)
    blocks = -(-width // BLOCK)
    scales = rng.uniform(-0.02, 0.02, (rows, blocks)).astype(np.float16)
    return data, scales, data * np.repeat(scales.astype(np.float64), BLOCK, axis=1)[:, :width]


def _panels(n: int, swiglu: bool) -> int:
    return 2 * -(-(n // 2) // PANEL) if swiglu else -(-n // PANEL)


def _columns(n: int, swiglu: bool) -> npt.NDArray[np.int64]:
    """For each of the n columns its place in the panels laid side by side."""
    if not swiglu:
        return np.arange(n)
    unit, lane = np.divmod(np.arange(n // 2), PANEL)
    return np.concatenate([2 * unit * PANEL + lane, (2 * unit + 1) * PANEL + lane])


def make_weights(
    rng: np.random.Generator,
    weight_format: str,
    n: int,
    k: int,
    *,
    swiglu: bool = False,
    bias: bool = False,
    scale_kind: str = "usual",
    bfloat16: bool = False,
) -> Weights:
    """Random weights in the packed layout; padding columns hold values that must not be read.

    Scales are "usual" ones, "any" finite half, or "zeros" in every other column. bfloat16: `dense`
    is what kernels that multiply in bfloat16 take the weights for.
    """
    width = _panels(n, swiglu) * PANEL
    added = normal(rng, n) if bias else None
    columns = _columns(n, swiglu)
    if weight_format == "float32":
        matrix = normal(rng, k, width)
        data = np.ascontiguousarray(matrix.reshape(k, -1, PANEL).transpose(1, 0, 2))
        dense = matrix[:, columns].astype(np.float64)
        return Weights(weight_format, n, k, data, None, dense, added)
    blocks = -(-k // BLOCK)
    low, high = (-128, 128) if weight_format == "int8" else (-8, 8)
    values = rng.integers(low, high, (blocks * BLOCK, width))
    scales = rng.uniform(-0.1, 0.1, (blocks, width)).astype(np.float16)
    if scale_kind == "any":
        bits = rng.integers(0, 0x7C00, scales.shape) | rng.integers(0, 2, scales.shape) << 15
        scales = bits.astype(np.uint16).view(np.float16)
    if scale_kind == "zeros":
        scales[:, ::2] = 0
    packed = pack_int8(values) if weight_format == "int8" else pack_int4(values)
    scale_panels = np.ascontiguousarray(scales.reshape(blocks, -1, PANEL).transpose(1, 0, 2))
    decoded = np.repeat(scales.astype(np.float64), BLOCK, axis=0) * values.astype(np.float64)
    if bfloat16:
        raised = np.repeat(scales.astype(np.float32) * CENTRE, BLOCK, axis=0)
        decoded = cut(values.astype(np.float32) * raised).astype(np.float64)
    return Weights(weight_format, n, k, packed, scale_panels, decoded[:k, columns], added)


# Cutting takes half a step off in the mean; scales are raised by as much.
CENTRE = np.float32(1 + 0.72 * 2.0**-8)


def cut(x: Floats) -> Floats:
    """The bfloat16 numbers towards zero; what is below the normal ones is zero."""
    bits = x.view(np.uint32)
    kept = np.where(bits & 0x7F800000 == 0, 0, bits & 0xFFFF0000)
    return kept.astype(np.uint32).view(np.float32)


def bfloat16_rows(x: Floats) -> Floats:
    """The nearest bfloat16 numbers, ties to even, as ml_dtypes rounds them."""
    return np.asarray(x.astype(ml_dtypes.bfloat16).astype(np.float32))


def pack_int8(values: npt.NDArray[np.int64]) -> Array:
    """[kp, 16 * panels] -> int8 [panels, kp/4, 16, 4]."""
    kp, width = values.shape
    quads = values.astype(np.int8).reshape(kp // 4, 4, width // PANEL, PANEL)
    return np.ascontiguousarray(quads.transpose(2, 0, 3, 1))


def pack_int4(values: npt.NDArray[np.int64]) -> Array:
    """[kp, 16 * panels] -> uint32 [panels, kp/8, 16], nibble i of a word is k = 8g + i."""
    kp, width = values.shape
    groups = (values + 8).astype(np.uint32).reshape(kp // 8, 8, width // PANEL, PANEL)
    shifts = (4 * np.arange(8, dtype=np.uint32)).reshape(1, 8, 1, 1)
    words = np.bitwise_or.reduce(groups << shifts, axis=1)
    return np.ascontiguousarray(words.transpose(1, 0, 2)).astype("<u4")


def round_rows(x: Floats, weight_format: str) -> Doubles:
    """What rows [r, k] stand for once every 32 of them are integers that share a scale."""
    levels = np.float32({"int4": 127, "int8": 32767}[weight_format])
    rows, k = x.shape
    blocks = np.zeros((rows, -(-k // BLOCK), BLOCK), np.float32)
    blocks.reshape(rows, blocks.shape[1] * BLOCK)[:, :k] = x
    most = np.abs(blocks).max(axis=2, keepdims=True)
    used = np.isfinite(most) & (most >= np.float32(2.0**-100))
    safe = np.where(used, most, np.float32(1))
    integers = np.rint(np.where(used, blocks, np.float32(0)) * (levels / safe))
    scales = np.where(used, safe / levels, np.where(np.isfinite(most), 0, np.nan))
    return (scales.astype(np.float64) * integers).reshape(rows, blocks.shape[1] * BLOCK)[:, :k]


def linear(
    weights: Weights, x: npt.NDArray[Any], epilogue: str, residual: Floats | None
) -> tuple[Doubles, Doubles]:
    """The result and the magnitude its error is measured against."""
    exact = x.astype(np.float64)
    y = exact @ weights.dense
    magnitude = np.abs(exact) @ np.abs(weights.dense)
    if epilogue == "swiglu":
        gate, up = np.split(y, 2, axis=1)
        gate_size, up_size = np.split(magnitude, 2, axis=1)
        silu = gate / (1 + np.exp(-gate))
        return silu * up, 1.1 * gate_size * np.abs(up) + np.abs(silu) * up_size
    for part in (weights.bias, residual):
        if part is not None:
            y = y + part
            magnitude = magnitude + np.abs(part)
    return y, magnitude


def angles(position: int, rotary_dim: int, theta: float = 10000.0) -> tuple[Floats, Floats]:
    """cos and sin of a position, [rotary_dim / 2] each."""
    frequency = theta ** -(np.arange(0, rotary_dim, 2, dtype=np.float64) / max(rotary_dim, 1))
    angle = np.float32(position) * frequency.astype(np.float32)
    return (
        np.cos(angle.astype(np.float64)).astype(np.float32),
        np.sin(angle.astype(np.float64)).astype(np.float32),
    )


def rotate(x: Doubles, turn: tuple[Floats, Floats], rotary_dim: int) -> Doubles:
    """Half split inside the first rotary_dim elements of the last axis."""
    cos, sin = (part.astype(np.float64) for part in turn)
    first, second = x[..., : rotary_dim // 2], x[..., rotary_dim // 2 : rotary_dim]
    turned = (first * cos - second * sin, second * cos + first * sin, x[..., rotary_dim:])
    return np.concatenate(turned, axis=-1)


def prepare(
    shape: Shape, qkv: Floats, turn: tuple[Floats, Floats]
) -> tuple[Doubles, Doubles, Doubles]:
    """q [heads, d], k and v [kv_heads, d] of one row, before rounding to the page type."""
    rows = qkv.astype(np.float64).reshape(-1, shape.head_dim)
    q, k, v = np.split(rows, [shape.heads, shape.heads + shape.kv_heads])
    if shape.q_norm is not None:
        q = rms_norm(q, shape.q_norm, shape.norm_offset, shape.epsilon)
    if shape.k_norm is not None:
        k = rms_norm(k, shape.k_norm, shape.norm_offset, shape.epsilon)
    return rotate(q, turn, shape.rotary_dim), rotate(k, turn, shape.rotary_dim), v


def attention(
    shape: Shape, q: Floats, position: int, pages: npt.NDArray[np.int32], arena: Array
) -> Doubles:
    """Plain softmax over what lies in the pages, [rows, heads * head_dim]."""
    k = np.concatenate([shape.keys(arena[page]) for page in pages], axis=2).astype(np.float64)
    v = np.concatenate([shape.values(arena[page]) for page in pages], axis=1).astype(np.float64)
    queries = q.astype(np.float64).reshape(len(q), shape.heads, shape.head_dim)
    out = np.empty_like(queries)
    for row in range(len(q)):
        seen = position + row + 1
        for head in range(shape.heads):
            kv = head // shape.group
            scores = queries[row, head] @ k[kv, :, :seen] * shape.scale
            p = np.exp(scores - scores.max())
            out[row, head] = p / p.sum() @ v[kv, :seen]
    return out.reshape(len(q), -1)


def filled_arena(
    rng: np.random.Generator, shape: Shape, length: int, stale: float = np.nan
) -> tuple[Array, npt.NDArray[np.int32]]:
    """Random keys and values at positions below `length`, in shuffled pages; the rest is stale."""
    count = -(-length // PAGE)
    pages = rng.permutation(count + 2)[:count].astype(np.int32)
    arena = shape.empty_arena(count + 2)
    arena[:] = stale
    for i, page in enumerate(pages):
        filled = min(PAGE, length - i * PAGE)
        dims: tuple[Any, ...] = (shape.kv_heads, shape.head_dim, filled)
        shape.keys(arena[page])[:, :, :filled] = normal(rng, *dims)
        shape.values(arena[page])[:, :filled] = normal(rng, dims[0], filled, dims[1])
    return arena, pages
