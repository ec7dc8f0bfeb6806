"""Tensors of a checkpoint as rows at byte offsets, read with plain reads and never mapped.

Both formats that we read (safetensors, GGUF) store a matrix as rows of equal byte size, so a header
parser that returns `TensorInfo`s is all that a format needs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from stepguard.errors import ExportError, ModelFormatError

from ._need import need

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# kind -> (weights in a block, bytes of a block)
BLOCKS: dict[str, tuple[int, int]] = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q8_0": (32, 34),
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q4_K": (256, 144),
    "Q6_K": (256, 210),
}
FLOAT_KINDS = frozenset({"F32", "F16", "BF16"})


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor lies: `shape` is row-major, `kind` a key of BLOCKS or another type."""

    name: str
    shape: tuple[int, ...]
    kind: str
    file: Path
    offset: int
    nbytes: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one entry of the first dimension; the blocks of a row never cross its end."""
        block, size = BLOCKS[self.kind]
        return math.prod(self.shape[1:]) // block * size if len(self.shape) > 1 else size


class TensorStore:
    """Reads rows of named tensors; use it as a context manager, which closes the files."""

    def __init__(self, tensors: Mapping[str, TensorInfo]) -> None:
        self.tensors = dict(tensors)
        self._open: dict[Path, int] = {}

    def __enter__(self) -> TensorStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all files; a later read opens them again."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def raw(self, name: str, begin: int, end: int) -> Bytes:
        """Stored bytes of rows begin..end: uint8 [end - begin, bytes of a row]."""
        info = self._supported(name)
        if not 0 <= begin <= end <= info.shape[0]:
            raise ValueError(f"rows {begin}..{end} of {name}, which has {info.shape[0]}")
        out = np.empty((end - begin, info.row_bytes), np.uint8)
        self._fill(info, info.offset + begin * info.row_bytes, out)
        return out

    def rows(self, name: str, begin: int, end: int) -> Floats:
        """Rows begin..end as float32 [end - begin, ...]; ExportError on NaN or infinity."""
        info = self._supported(name)
        flat = to_float(self.raw(name, begin, end), info.kind)
        if not np.isfinite(flat).all():
            raise ExportError(
                f"tensor {name} in {info.file.name}",
                expected="finite weights",
                got=f"NaN or infinity in rows {begin} to {end - 1}",
                fix="The checkpoint is damaged or was saved from a diverged run",
            )
        return flat.reshape(end - begin, *info.shape[1:])

    def whole(self, name: str) -> Floats:
        """A small tensor (norm, bias) as float32."""
        return self.rows(name, 0, self.tensors[name].shape[0])

    def _supported(self, name: str) -> TensorInfo:
        info = self.tensors[name]
        if info.kind not in BLOCKS:
            raise ModelFormatError(
                f"tensor {name} in {info.file.name}",
                expected=f"a type out of {', '.join(BLOCKS)}",
                got=info.kind,
                fix="Convert the checkpoint to one of these types first",
            )
        return info

    def _fill(self, info: TensorInfo, offset: int, out: Bytes) -> None:
        descriptor = self._open.get(info.file)
        if descriptor is None:
            descriptor = self._open[info.file] = os.open(info.file, os.O_RDONLY)
        flat: Any = out.reshape(-1)
        view, done = memoryview(flat), 0
        while done < len(view):
            count = os.preadv(descriptor, [view[done:]], offset + done)
            if count == 0:
                raise ModelFormatError(
                    f"tensor {info.name} in {info.file.name}",
                    expected=f"{len(view)} bytes at {offset}",
                    got=f"the end of the file after {done}",
                    fix="The file became shorter while it was read; fetch it again",
                )
            done += count


def to_float(raw: Bytes, kind: str) -> Floats:
    """float32 [rows, weights of a row] of stored rows uint8 [rows, bytes of a row]."""
    if kind == "F32":
        return raw.view("<f4")
    if kind == "F16":
        return raw.view("<f2").astype(np.float32)
    if kind == "BF16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    types = need("gguf").GGMLQuantizationType
    floats: Floats = need("gguf.quants").dequantize(raw, types[kind])
    return floats
