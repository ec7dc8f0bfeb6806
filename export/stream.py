"""weights.bin: tensors one after the other at 64-byte aligned offsets, hashed while written."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
ALIGNMENT = 64


@dataclass(frozen=True)
class Slot:
    """One tensor of weights.bin."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor without padding."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Item:
    """Tensors that are produced together: `pieces` yields a piece of each at a time, in order."""

    slots: tuple[Slot, ...]
    pieces: Callable[[], Iterable[tuple[Array, ...]]]


def array_item(name: str, value: Array) -> Item:
    """An item of one small tensor that is already in memory."""
    slot = Slot(name, value.dtype, value.shape)
    return Item((slot,), lambda: iter([(value,)]))


def offsets_of(items: Iterable[Item]) -> tuple[dict[str, int], int]:
    """(offset of each tensor by name, bytes of the whole file)."""
    offsets, position = {}, 0
    for item in items:
        for slot in item.slots:
            position = -(-position // ALIGNMENT) * ALIGNMENT
            offsets[slot.name] = position
            position += slot.nbytes
    return offsets, position


def write_weights(
    path: Path, items: Iterable[Item], progress: Callable[[str, int], None] | None = None
) -> tuple[str, int]:
    """Writes all items; returns (sha256, bytes). `progress` gets (tensor name, bytes written)."""
    digest, position = hashlib.sha256(), 0
    with path.open("xb") as file:
        for item in items:
            for slot, data in _tensors(item):
                padding = -position % ALIGNMENT if data is None else 0
                chunk = bytes(padding) if data is None else _bytes_of(data)
                file.write(chunk)
                digest.update(chunk)
                position += len(chunk)
                if progress is not None:
                    progress(slot.name, len(chunk))
    return digest.hexdigest(), position


def _bytes_of(data: Array) -> memoryview:
    view: Any = data.reshape(-1).view(np.uint8)
    return memoryview(view)


def _tensors(item: Item) -> Iterator[tuple[Slot, Array | None]]:
    """Pieces in file order; None stands for the padding in front of a tensor.

    The first tensor of an item is passed on as it comes; the others (scales, a sixteenth of it at
    most) wait in memory until it is complete.
    """
    first, *others = item.slots
    waiting: list[list[Array]] = [[] for _ in others]
    written = 0
    yield first, None
    for pieces in item.pieces():
        head = np.ascontiguousarray(pieces[0])
        written += head.nbytes
        yield first, head
        for queue, piece in zip(waiting, pieces[1:], strict=True):
            queue.append(np.ascontiguousarray(piece))
    _check(first, written)
    for slot, queue in zip(others, waiting, strict=True):
        _check(slot, sum(piece.nbytes for piece in queue))
        yield slot, None
        yield from ((slot, piece) for piece in queue)


def _check(slot: Slot, written: int) -> None:
    if written != slot.nbytes:
        raise RuntimeError(f"{slot.name}: planned {slot.nbytes} bytes, produced {written}")
