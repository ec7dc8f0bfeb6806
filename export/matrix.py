"""One fused matrix of the graph: projections of the checkpoint, read block by block and packed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from . import panels
from .formats import Format
from .quantise import Blocks, int4_blocks, int8_blocks, unpack_q4_0, unpack_q8_0
from .tensors import Floats, TensorStore

Array = npt.NDArray[Any]
_BLOCK_BYTES = 8 << 20  # float32 bytes of a block of rows


class Delta(Protocol):
    """What an adapter adds to the rows of one matrix."""

    def rows(self, begin: int, end: int) -> Floats:
        """float32 [end - begin, k]."""


@dataclass(frozen=True)
class Part:
    """Rows of one stored matrix, in the order of the reference implementation.

    `permuted_head` is the head size when the file stores the rotary pairs of each head side by
    side (llama.cpp's order for Llama), else 0. `kept` says that stored blocks stay bit for bit.
    """

    store: TensorStore
    name: str
    kept: bool = False
    permuted_head: int = 0
    delta: Delta | None = None

    @property
    def kind(self) -> str:
        """The stored type."""
        return self.store.tensors[self.name].kind

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.store.tensors[self.name].shape
        return rows, columns

    def floats(self, begin: int, end: int) -> Floats:
        """float32 [end - begin, k], what the adapter adds included."""
        first, last = self._cover(begin, end)
        rows: Floats = self._reorder(self.store.rows(self.name, first, last))
        rows = rows[begin - first : end - first]
        return rows if self.delta is None else rows + self.delta.rows(begin, end)

    def blocks(self, begin: int, end: int, form: Format) -> Blocks:
        """The rows as blocks of `form` (int8, int4), passed through when they are kept."""
        if not self.kept:
            return (int8_blocks if form == "int8" else int4_blocks)(self.floats(begin, end))
        first, last = self._cover(begin, end)
        raw = self._reorder(self.store.raw(self.name, first, last))[begin - first : end - first]
        return (unpack_q8_0 if self.kind == "Q8_0" else unpack_q4_0)(raw, self.name)

    def _cover(self, begin: int, end: int) -> tuple[int, int]:
        """The stored rows that hold rows begin..end: whole heads where heads are permuted."""
        head = self.permuted_head
        return (begin // head * head, -(-end // head) * head) if head else (begin, end)

    def _reorder(self, rows: Array) -> Array:
        return unpermute(rows, self.permuted_head) if self.permuted_head else rows


def unpermute(rows: Array, head: int) -> Array:
    """Rows of whole heads from llama.cpp's order (pairs side by side) to the half-split order."""
    pairs = rows.reshape(-1, head // 2, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


@dataclass(frozen=True)
class Matrix:
    """Parts fused into one packed weight: stacked, or (swiglu) paired panel by panel."""

    parts: tuple[Part, ...]
    form: Format
    paired: bool = False

    @property
    def k(self) -> int:
        """Columns of every part."""
        return self.parts[0].shape[1]

    @property
    def n(self) -> int:
        """Rows of all parts, without padding."""
        return sum(part.shape[0] for part in self.parts)

    @property
    def panels(self) -> int:
        """Panels of the packed weight."""
        if self.paired:
            return 2 * panels.panels_of(self.parts[0].shape[0])
        return panels.panels_of(self.n)

    def packed(self) -> Iterator[tuple[Array, Array | None]]:
        """(weight, scales) of successive panels; scales are None in float32."""
        step = max(1, _BLOCK_BYTES // (4 * self.k * panels.PANEL))
        count = self.panels // 2 if self.paired else self.panels
        for begin in range(0, count, step):
            yield self._pack(begin, min(begin + step, count))

    def _pack(self, begin: int, end: int) -> tuple[Array, Array | None]:
        rows = begin * panels.PANEL, end * panels.PANEL
        if not self.paired:
            return _pack_rows([self._slices(rows)], self.form)
        return _pack_rows([[_slice(part, rows)] for part in self.parts], self.form)

    def _slices(self, rows: tuple[int, int]) -> list[tuple[Part, int, int]]:
        """The rows begin..end of the stacked parts, part by part."""
        slices, start = [], 0
        for part in self.parts:
            first, last = max(rows[0] - start, 0), min(rows[1] - start, part.shape[0])
            if first < last:
                slices.append((part, first, last))
            start += part.shape[0]
        return slices


def _slice(part: Part, rows: tuple[int, int]) -> tuple[Part, int, int]:
    return part, rows[0], min(rows[1], part.shape[0])


def _pack_rows(
    groups: list[list[tuple[Part, int, int]]], form: Format
) -> tuple[Array, Array | None]:
    """Packs each group into panels and interleaves the groups panel by panel."""
    packed = [_pack_group(group, form) for group in groups]
    weights = _interleave([weight for weight, _ in packed])
    scales = [scale for _, scale in packed if scale is not None]
    return weights, _interleave(scales) if scales else None


def _pack_group(group: list[tuple[Part, int, int]], form: Format) -> tuple[Array, Array | None]:
    if form == "float32":
        rows = np.concatenate([part.floats(first, last) for part, first, last in group])
        return panels.pack_float32(panels.pad_rows(rows)), None
    pieces = [part.blocks(first, last, form) for part, first, last in group]
    values = np.concatenate([piece.values for piece in pieces])
    blocks = panels.pad_blocks(Blocks(values, np.concatenate([p.scales for p in pieces])))
    pack = panels.pack_int8 if form == "int8" else panels.pack_int4
    return pack(blocks.values), panels.pack_scales(blocks.scales)


def _interleave(groups: list[Array]) -> Array:
    if len(groups) == 1:
        return groups[0]
    return np.stack(groups, axis=1).reshape(-1, *groups[0].shape[1:])
