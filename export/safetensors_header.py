"""Headers of safetensors files: single files and shards listed in an index.

The format: 8 bytes with the length of a JSON header, the header, then the data. Everything in the
header is checked against the file before a byte of data is read.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from stepguard.errors import ModelFormatError

from .tensors import TensorInfo

HEADER_LIMIT = 100_000_000  # the limit of the reference implementation
_SIZES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
}  # fmt: skip
_MOST_DIMENSIONS = 64  # numpy's limit; products of so many sizes stay quick to compute and print
_DAMAGED = "The file is truncated or was changed; fetch it again"


def read_safetensors(path: Path) -> dict[str, TensorInfo]:
    """Tensors of one file by name; ModelFormatError when header and file contradict each other."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > size - 8:
            raise _bad(path, f"a header of {length} bytes", f"a file of {size} bytes")
        if length > HEADER_LIMIT:
            raise _bad(path, f"a header of at most {HEADER_LIMIT} bytes", f"{length} bytes")
        header = _parse(path, file.read(length))
    start, tensors = 8 + length, {}
    for name, entry in header.items():
        if name != "__metadata__":
            tensors[name] = _entry(path, name, entry, start)
    _check_layout(path, tensors, start, size)
    return tensors


def read_index(folder: Path, index: Path) -> dict[str, TensorInfo]:
    """Tensors of all shards that `model.safetensors.index.json` names."""
    try:
        weight_map = json.loads(index.read_bytes())["weight_map"]
        files = sorted(set(weight_map.values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFormatError(index.name, expected="a weight_map", got=repr(error)) from error
    for file in files:
        # A name with folders in it could point anywhere on the machine.
        if not isinstance(file, str) or Path(file).name != file:
            raise ModelFormatError(index.name, expected="plain file names", got=repr(file))
    absent = [file for file in files if not _is_file(folder / file)]
    if absent:
        raise ModelFormatError(
            f"{folder.name}: shards of {index.name}",
            expected=f"{len(files)} files",
            got=f"no {', '.join(absent)}",
            fix="Fetch the missing files",
        )
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        for name, info in read_safetensors(folder / file).items():
            if name in tensors:
                raise _bad(folder / file, f"{name} in one shard", f"{tensors[name].file.name} too")
            tensors[name] = info
    lost = sorted(name for name in weight_map if name not in tensors)
    if lost:
        raise _bad(index, "every listed tensor in a shard", f"none of {', '.join(lost[:8])}")
    return tensors


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no file has a name of that length
        return False


def _bad(path: Path, expected: str, got: str) -> ModelFormatError:
    return ModelFormatError(path.name, expected=expected, got=got, fix=_DAMAGED)


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            raise ValueError("a key occurs twice")
        return table

    try:
        header = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _bad(path, "a JSON header", str(error)) from error
    if not isinstance(header, dict):
        raise _bad(path, "a JSON object as header", type(header).__name__)
    return header


def _entry(path: Path, name: str, entry: Any, start: int) -> TensorInfo:
    try:
        kind, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise _bad(path, f"dtype, shape and data_offsets of {name}", repr(error)) from error
    numbers = (*shape, begin, end)
    if not all(type(number) is int and 0 <= number < 1 << 63 for number in numbers):
        raise _bad(path, f"whole numbers for {name}", repr(numbers)[:200])
    if len(shape) > _MOST_DIMENSIONS:
        raise _bad(path, f"at most {_MOST_DIMENSIONS} dimensions of {name}", str(len(shape)))
    if not isinstance(kind, str) or kind not in _SIZES:
        raise _bad(path, f"a known dtype of {name}", repr(kind)[:200])
    # An empty tensor may not be of any shape either: rows of it would be beyond numpy.
    if math.prod(max(size, 1) for size in shape) * _SIZES[kind] >= 1 << 63:
        raise _bad(path, f"fewer than 2**63 bytes of {name}", repr(shape)[:200])
    if end - begin != math.prod(shape) * _SIZES[kind]:
        raise _bad(path, f"{math.prod(shape) * _SIZES[kind]} bytes of {name}", str(end - begin))
    return TensorInfo(name, shape, kind, path, start + begin, end - begin)


def _check_layout(path: Path, tensors: dict[str, TensorInfo], start: int, size: int) -> None:
    """Tensors must fill the data without overlap or gap, as the reference demands too."""
    position = start
    for info in sorted(tensors.values(), key=lambda info: (info.offset, info.nbytes)):
        if info.offset != position:
            relation = "an overlap" if info.offset < position else "a gap"
            raise _bad(path, f"{info.name} at byte {position}", f"{relation}, byte {info.offset}")
        position += info.nbytes
    if position != size:
        raise _bad(path, f"a file of {position} bytes", f"{size} bytes")
