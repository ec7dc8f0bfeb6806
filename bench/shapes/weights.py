"""Random tensors that are made when their rows are read, the same at every reading.

A row is cut out of one tile of random weights, at a place that follows from seed, tensor and row.
That is as fast as copying, needs no memory for the tensor, and lets any rows be read in any order.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stepguard.export.shape import Shape
from stepguard.export.tensors import BLOCKS, Bytes, Floats, TensorInfo, TensorStore

_TILE = 1 << 20  # weights of a tile
_DECAYS = 1.0, 16.0  # the range of exp(A_log) where training begins
_STEPS = 0.001, 0.1  # the range of softplus(dt_bias) where training begins


class RandomStore(TensorStore):
    """Tensors by name and shape, stored as BF16 or as `kinds` says (Q8_0, Q4_0)."""

    def __init__(
        self,
        place: Path,
        tensors: Iterable[tuple[str, tuple[int, ...]]],
        shape: Shape,
        *,
        seed: int,
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        kinds = kinds or {}
        super().__init__(
            {name: _info(place, name, size, kinds.get(name, "BF16")) for name, size in tensors}
        )
        self._seed, self._shape = seed, shape

    def raw(self, name: str, begin: int, end: int) -> Bytes:
        """Bytes of rows begin..end: uint8 [end - begin, bytes of a row]."""
        info = self.tensors[name]
        if len(info.shape) == 1:
            values = _vector(name, info.shape[0], self._shape, self._seed)[begin:end]
            return to_bf16(values).view(np.uint8).reshape(-1, info.row_bytes)
        block, unit = BLOCKS[info.kind]
        columns = math.prod(info.shape[1:])
        tile = _tile(info.kind, columns, self._seed)
        places = len(tile) // unit - columns // block + 1
        offsets = _hash(name, begin, end, self._seed) % np.uint64(places)
        rows: Bytes = np.lib.stride_tricks.sliding_window_view(tile, info.row_bytes)[
            offsets.astype(np.int64) * unit
        ]
        return rows


class Rounded(TensorStore):
    """The tensors of another store, rounded to BF16."""

    def __init__(self, store: TensorStore) -> None:
        self._store = store
        super().__init__(
            {
                name: _info(info.file, name, info.shape, "BF16")
                for name, info in store.tensors.items()
            }
        )

    def raw(self, name: str, begin: int, end: int) -> Bytes:
        """Bytes of rows begin..end: uint8 [end - begin, bytes of a row]."""
        rows = self._store.rows(name, begin, end).reshape(end - begin, -1)
        bits: Bytes = np.ascontiguousarray(to_bf16(rows)).view(np.uint8)
        return bits


def to_bf16(values: Floats) -> npt.NDArray[np.uint16]:
    """The nearest bfloat16 of each float32, as its bits."""
    bits = values.astype(np.float32).view(np.uint32)
    # Half of the last digit, less a hair where the digit is even.
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def _info(place: Path, name: str, shape: tuple[int, ...], kind: str) -> TensorInfo:
    block, size = BLOCKS[kind]
    return TensorInfo(name, shape, kind, place, 0, math.prod(shape) // block * size)


@cache
def _tile(kind: str, columns: int, seed: int) -> Bytes:
    """Random weights of variance 1 / columns, so that a product keeps the size of its input."""
    rng = np.random.default_rng([seed, columns])
    if kind == "BF16":
        normal = rng.standard_normal(_TILE, np.float32)
        return to_bf16(normal / np.float32(math.sqrt(columns))).view(np.uint8)
    block, size = BLOCKS[kind]
    tile = rng.integers(0, 256, (_TILE // block, size), np.uint8)
    values = tile[:, 2:].view(np.int8)
    if kind == "Q8_0":
        np.maximum(values, -127, out=values)
    steps = 127.0 if kind == "Q8_0" else 8.0  # evenly spread, so of variance steps^2 / 3
    scale = math.sqrt(3.0 / columns) / steps
    if kind == "Q4_0":
        # A block whose largest weight is -8 steps, of a power of two, is found again by everybody
        # who quantises it to 4 bits, and bfloat16 holds it exactly.
        scale = 2.0 ** round(math.log2(scale))
        place = rng.integers(2, size, len(tile))
        tile[np.arange(len(tile)), place] &= 0xF0
    tile[:, :2] = np.array([scale], np.float16).view(np.uint8)
    flat: Bytes = tile.reshape(-1)
    return flat


def _hash(name: str, begin: int, end: int, seed: int) -> npt.NDArray[np.uint64]:
    """A number for each row, as good as random (splitmix64)."""
    start = (zlib.crc32(f"{seed} {name}".encode()) << 32) + begin
    x = np.arange(start, start + end - begin, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ x >> np.uint64(shift)) * np.uint64(factor)
    return x ^ x >> np.uint64(31)


def _vector(name: str, size: int, shape: Shape, seed: int) -> Floats:
    """Norms, biases and gates of a delta layer, near the values that training starts from."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if name.endswith("A_log"):
        return np.log(rng.uniform(*_DECAYS, size)).astype(np.float32)
    if name.endswith("dt_bias"):
        low, high = (float(np.log(step)) for step in _STEPS)
        step = np.exp(rng.uniform(low, high, size))
        return np.asarray(np.log(np.expm1(step)), np.float32)  # softplus takes it back
    noise = 0.02 * rng.standard_normal(size, np.float32)
    if not name.endswith("norm.weight") and "layernorm" not in name:
        return noise
    # Norms that scale by 1 + weight rest at 0; those of the heads of delta layers do not.
    offset = 0.0 if "linear_attn" in name else shape.architecture.norm_offset
    return noise + np.float32(1.0 - offset)
