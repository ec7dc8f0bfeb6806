"""One fused matrix of the graph: projections of the checkpoint, read block by block and packed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from . import panels
from .formats import Format
from .quantise import Blocks, int4_blocks, int8_blocks, unpack_q4_0, unpack_q8_0
from .tensors import Floats, TensorStore
from .value_heads import ValueHeads, gather

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
    `paired_head` is the head size when the file alternates heads of two matrices, else 0; this is
    the first of them or, with `half` 1, the second. `dealt_rows` and `dealt_columns` say
    where value heads lie that the file deals round; kept blocks move whole, so such columns are
    heads of whole blocks.
    """

    store: TensorStore
    name: str
    kept: bool = False
    permuted_head: int = 0
    delta: Delta | None = None
    paired_head: int = 0
    half: int = 0
    dealt_rows: ValueHeads | None = None
    dealt_columns: ValueHeads | None = None

    @property
    def kind(self) -> str:
        """The stored type."""
        return self.store.tensors[self.name].kind

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.store.tensors[self.name].shape
        return rows // 2 if self.paired_head else rows, columns

    def floats(self, begin: int, end: int) -> Floats:
        """float32 [end - begin, k], what the adapter adds included."""
        rows: Floats = self._taken(lambda a, b: self.store.rows(self.name, a, b), begin, end)
        if self.dealt_columns is not None:
            rows = rows.take(self.dealt_columns.stored(0, rows.shape[1]), axis=1)
        if self.delta is None:
            return rows
        # An adapter has the order of the reference implementation, which alternates heads too.
        added = self._taken if self.paired_head else _as_stored
        return rows + added(self.delta.rows, begin, end)

    def blocks(self, begin: int, end: int, form: Format) -> Blocks:
        """The rows as blocks of `form` (int8, int4), passed through when they are kept."""
        if not self.kept:
            return (int8_blocks if form == "int8" else int4_blocks)(self.floats(begin, end))
        raw = self._taken(lambda a, b: self.store.raw(self.name, a, b), begin, end)
        blocks = (unpack_q8_0 if self.kind == "Q8_0" else unpack_q4_0)(raw, self.name)
        if self.dealt_columns is None:
            return blocks
        return blocks.columns(self.dealt_columns.stored(0, self.shape[1]))

    def _taken(self, read: Callable[[int, int], Array], begin: int, end: int) -> Array:
        """Rows begin..end of what `read` gives by stored rows: whole heads are read."""
        if self.dealt_rows is not None:
            return gather(read, self.dealt_rows.stored(begin, end))
        head = self.paired_head or self.permuted_head
        if not head:
            return read(begin, end)
        first, last = begin // head * head, -(-end // head) * head
        if self.paired_head:
            rows = take_half(read(2 * first, 2 * last), head, self.half)
        else:
            rows = unpermute(read(first, last), head)
        return rows[begin - first : end - first]


def _as_stored(read: Callable[[int, int], Array], begin: int, end: int) -> Array:
    return read(begin, end)


def take_half(rows: Array, head: int, half: int) -> Array:
    """Heads of the first (0) or second (1) of two matrices that alternate head by head."""
    pairs = rows.reshape(-1, 2, head, *rows.shape[1:])
    return pairs[:, half].reshape(-1, *rows.shape[1:])


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
