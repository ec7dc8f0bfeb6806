"""From float rows to blocks of 32 weights with one fp16 scale: w = scale * q.

int8 keeps -127..127 and takes absmax/127 as scale. int4 keeps -8..7 and searches its scale, see
`int4_blocks`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stepguard.errors import ExportError

from .tensors import Bytes, Floats

BLOCK = 32
SEARCH = "grid8-lsq"  # the name that the manifest records for int4_blocks
_SUBNORMAL = np.float32(2.0**-14)  # below it fp16 loses digits
_HUGE = np.float32(65504.0)  # largest finite fp16
# Inverse scales are tried at (-8 + step) / m, m the weight of largest magnitude with its sign.
_STEPS = np.linspace(-0.75, 1.0, 8, dtype=np.float32)
_SLICE = 2048  # blocks at a time: the temporaries of a slice stay in a second-level cache


@dataclass(frozen=True)
class Blocks:
    """Quantised rows: `values` int8 [rows, k rounded up to 32], `scales` fp16 [rows, blocks]."""

    values: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float16]

    def floats(self, k: int) -> Floats:
        """The float32 [rows, k] that these blocks stand for."""
        rows, blocks = self.scales.shape
        values = self.values.reshape(rows, blocks, BLOCK).astype(np.float32)
        return (values * self.scales.astype(np.float32)[..., None]).reshape(rows, -1)[:, :k]

    def columns(self, places: npt.NDArray[np.int64]) -> Blocks:
        """The columns at `places`, in which blocks of 32 stay together, as they are."""
        return Blocks(
            self.values.take(places, axis=1), self.scales.take(places[::BLOCK] // BLOCK, axis=1)
        )


def int8_blocks(rows: Floats) -> Blocks:
    """Symmetric absmax/127 in blocks of 32 along each row of float32 [rows, k]."""
    blocks = _split(rows)
    peak = np.abs(blocks).max(axis=2)
    return _round(blocks, _fp16(peak / np.float32(127.0)), -127, 127)


def int4_blocks(rows: Floats) -> Blocks:
    """Values -8..7 with a searched scale, in blocks of 32 along each row of float32 [rows, k].

    For each block 8 scales around that of Q4_0 (the weight of largest magnitude becomes -8) are
    tried; each is refitted by least squares to the values that it rounds to, and the one with the
    smallest squared error stays. All weights of a block count alike: weighting them by magnitude or
    by its square made the result worse. Measured on every sixth layer of SmolLM2-135M-Instruct,
    "output" is the relative squared error of y = W x on activations of real trajectories:

    | scale                      | weights | output |
    |----------------------------|---------|--------|
    | absmax / 7                 | 0.0101  | 0.0114 |
    | Q4_0 (signed max / -8)     | 0.0074  | 0.0087 |
    | the same, refitted         | 0.0066  | 0.0081 |
    | 8 scales, refitted (this)  | 0.0058  | 0.0077 |
    | 16 scales, refitted        | 0.0058  | 0.0077 |
    | 16 scales, error by abs(w) | 0.0062  | 0.0080 |
    | 16 scales, error by w^2    | 0.0070  | 0.0087 |
    """
    blocks = _split(rows)
    flat = blocks.reshape(-1, BLOCK)
    scales = np.empty(len(flat), np.float32)
    for begin in range(0, len(flat), _SLICE):
        part = slice(begin, begin + _SLICE)
        scales[part] = _search(flat[part])
    return _round(blocks, _fp16(scales).reshape(blocks.shape[:2]), -8, 7)


def unpack_q8_0(raw: Bytes, name: str) -> Blocks:
    """The blocks of GGUF Q8_0 rows uint8 [rows, blocks * 34], bit for bit."""
    cells = raw.reshape(len(raw), -1, 34)
    values = np.ascontiguousarray(cells[..., 2:]).view(np.int8)
    return Blocks(values.reshape(len(raw), -1), _scales_of(cells, name))


def unpack_q4_0(raw: Bytes, name: str) -> Blocks:
    """The blocks of GGUF Q4_0 rows uint8 [rows, blocks * 18], bit for bit."""
    cells = raw.reshape(len(raw), -1, 18)
    packed = cells[..., 2:]
    # A block stores weight j in the low half of byte j and weight j + 16 in the high half.
    values = np.concatenate([packed & 15, packed >> 4], axis=2).astype(np.int8) - np.int8(8)
    return Blocks(values.reshape(len(raw), -1), _scales_of(cells, name))


def _scales_of(cells: Bytes, name: str) -> npt.NDArray[np.float16]:
    scales = np.ascontiguousarray(cells[..., :2]).view("<f2")[..., 0]
    if not np.isfinite(scales).all():
        raise ExportError(
            f"tensor {name}",
            expected="finite block scales",
            got="NaN or infinity",
            fix="The checkpoint is damaged; fetch it again",
        )
    return scales


def _split(rows: Floats) -> Floats:
    """float32 [rows, blocks, 32], the last block of each row padded with zeros."""
    count, k = rows.shape
    padded = -(-k // BLOCK) * BLOCK
    if padded != k:
        rows = np.pad(rows, ((0, 0), (0, padded - k)))
    return rows.reshape(count, -1, BLOCK)


def _fp16(scales: Floats) -> npt.NDArray[np.float16]:
    """Scales in fp16; below 2^-14 they are rounded away from zero, so at least to 2^-24.

    There fp16 has few digits left: rounded to the nearest, a scale could become zero, or so small
    that the largest weight of its block no longer fits.
    """
    size = np.abs(scales)
    if (size > _HUGE).any():
        raise ExportError(
            "quantisation",
            expected=f"block scales up to {_HUGE:g}, the largest fp16",
            got=f"{size.max():g}",
            fix="Export this checkpoint with --quant float32",
        )
    rounded = scales.astype(np.float16)
    short = (size < _SUBNORMAL) & (np.abs(rounded) < size)
    away = np.copysign(np.float16(np.inf), scales[short]).astype(np.float16)
    rounded[short] = np.nextafter(rounded[short], away)
    return rounded


def _round(blocks: Floats, scales: npt.NDArray[np.float16], low: int, high: int) -> Blocks:
    exact = scales.astype(np.float32)
    inverse = np.divide(1.0, exact, out=np.zeros_like(exact), where=exact != 0)
    values = np.rint(blocks * inverse[..., None]).clip(low, high).astype(np.int8)
    return Blocks(values.reshape(len(blocks), -1), scales)


def _search(blocks: Floats) -> Floats:
    """The best of the tried scales for each block: float32 [count, 32] -> float32 [count]."""
    peak = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)[:, 0]
    nonzero = peak != 0
    inverse = np.divide(1.0, peak, out=np.zeros_like(peak), where=nonzero)
    best = np.full(len(blocks), -1.0, np.float32)
    scale = np.zeros(len(blocks), np.float32)
    for step in _STEPS:
        q = blocks * (inverse * (np.float32(-8.0) + step))[:, None]
        np.rint(q, out=q)
        np.clip(q, -8, 7, out=q)
        # For fixed q the squared error is smallest at xq/qq, and there it is xx - xq^2/qq.
        xq = np.einsum("ij,ij->i", blocks, q)
        qq = np.einsum("ij,ij->i", q, q)
        fitted = np.divide(xq, qq, out=np.zeros_like(xq), where=qq > 0)
        gain = xq * fitted
        better = gain > best
        best[better], scale[better] = gain[better], fitted[better]
    return scale
