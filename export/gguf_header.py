"""The header of a GGUF file: metadata and where each tensor lies.

Parsed here and not with `gguf.GGUFReader`: the reader maps the whole file and makes two numpy
objects for every string of the vocabulary, which costs more memory than the rest of an export.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

from stepguard.errors import ModelFormatError

from ._need import need
from .tensors import TensorInfo

# Codes of scalar types and their struct formats; 8 and 9 are strings and arrays.
_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_STRING, _ARRAY = 8, 9
_DEEPEST = 8  # arrays of arrays, which no known field has
_LIMIT = 1 << 28  # entries of an array, bytes of a string: far above any real vocabulary


class _Reader:
    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self.file, self.path, self.size = file, path, size

    def fail(self, expected: str, got: str) -> ModelFormatError:
        return ModelFormatError(
            f"{self.path.name} at byte {self.file.tell()}",
            expected=expected,
            got=got,
            fix="The file is truncated or not a GGUF file; fetch it again",
        )

    def take(self, count: int) -> bytes:
        if count > self.size - self.file.tell():
            raise self.fail(f"{count} more bytes", "the end of the file")
        return self.file.read(count)

    def unpack(self, form: str) -> tuple[Any, ...]:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))

    def string(self) -> str:
        (length,) = self.unpack("Q")
        if length > _LIMIT:
            raise self.fail("a string", f"a length of {length}")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.fail("UTF-8 text", str(error)) from error

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind in _SCALARS:
            return self.unpack(_SCALARS[kind])[0]
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise self.fail("a GGUF value type", str(kind))
        item, count = self.unpack("IQ")
        if count > _LIMIT:
            raise self.fail("an array", f"{count} entries")
        if item in _SCALARS:
            return list(self.unpack(f"{count}{_SCALARS[item]}"))
        if depth == _DEEPEST:
            raise self.fail(f"at most {_DEEPEST} arrays in each other", "more")
        return [self.value(item, depth + 1) for _ in range(count)]


def read_gguf_header(path: Path) -> tuple[dict[str, Any], dict[str, TensorInfo]]:
    """(metadata, tensors by name) of a GGUF file, version 2 or 3, little-endian.

    Raises ModelFormatError for a file that is truncated, damaged or of another version.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        reader = _Reader(file, path, size)
        if reader.take(4) != b"GGUF":
            raise reader.fail("the magic GGUF", "another file type")
        version, tensor_count, value_count = reader.unpack("IQQ")
        if version not in (2, 3):
            raise reader.fail("GGUF version 2 or 3", f"version {version} (or a big-endian file)")
        metadata: dict[str, Any] = {}
        for _ in range(value_count):
            key = reader.string()
            metadata[key] = reader.value(reader.unpack("I")[0])
        entries = [_tensor_entry(reader) for _ in range(tensor_count)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise reader.fail("general.alignment to be a power of two", repr(alignment))
        start = -(-file.tell() // alignment) * alignment
    return metadata, _place(path, size, start, entries)


def _tensor_entry(reader: _Reader) -> tuple[str, tuple[int, ...], int, int]:
    name = reader.string()
    (rank,) = reader.unpack("I")
    if not 1 <= rank <= 4:
        raise reader.fail(f"1 to 4 dimensions of {name}", str(rank))
    dims = reader.unpack(f"{rank}Q")
    kind, offset = reader.unpack("IQ")
    return name, tuple(reversed(dims)), kind, offset


def _place(
    path: Path, size: int, start: int, entries: list[tuple[str, tuple[int, ...], int, int]]
) -> dict[str, TensorInfo]:
    sizes = {int(kind.value): size for kind, size in need("gguf").GGML_QUANT_SIZES.items()}
    names = {int(kind.value): str(kind.name) for kind in need("gguf").GGML_QUANT_SIZES}
    tensors: dict[str, TensorInfo] = {}
    for name, shape, code, offset in entries:
        kind = names.get(code, f"type {code}")
        where = f"tensor {name} in {path.name}"
        if name in tensors:
            raise ModelFormatError(where, expected="one tensor of that name", got="two")
        block, block_bytes = sizes.get(code, (1, 0))
        # An empty tensor may not be of any shape either: rows of it would be beyond numpy.
        if math.prod(max(size, 1) for size in shape) * max(block_bytes, 1) >= 1 << 63:
            raise ModelFormatError(where, expected="fewer than 2**63 bytes", got=str(shape))
        if shape[-1] % block:
            raise ModelFormatError(where, expected=f"rows of whole {block}s", got=str(shape))
        nbytes = math.prod(shape) // block * block_bytes
        if start + offset + nbytes > size:
            raise ModelFormatError(
                where,
                expected=f"{nbytes} bytes at {start + offset}",
                got=f"a file of {size} bytes",
                fix="The file is truncated; fetch it again",
            )
        tensors[name] = TensorInfo(name, shape, kind, path, start + offset, nbytes)
    return tensors
