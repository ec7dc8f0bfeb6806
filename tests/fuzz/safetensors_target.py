"""The header of a safetensors file; an input that begins with a brace is an index of shards."""

from __future__ import annotations

import json
import struct
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from stepguard.errors import ExportError, ModelFormatError
from stepguard.export.safetensors_header import read_index, read_safetensors
from stepguard.export.tensors import BLOCKS, TensorStore
from tests.fuzz.mutate import mutate_bytes, mutate_json
from tests.fuzz.target import Target, as_file, folder


def run(data: bytes) -> None:
    if data[:1] == b"{":
        read_index(_shards(), as_file("model.safetensors.index.json", data))
        return
    tensors = read_safetensors(as_file("model.safetensors", data))
    with TensorStore(tensors) as store:
        for info in tensors.values():
            assert info.offset >= 8
            assert info.offset + info.nbytes <= len(data)
            if info.kind in BLOCKS and info.shape:
                rows = store.raw(info.name, 0, info.shape[0])
                assert rows.nbytes == info.nbytes


def raw(header: Any, data: bytes = b"") -> bytes:
    """A file of a header and what follows it."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _entry(begin: int, end: int, shape: list[int], kind: str) -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


@cache
def _shards() -> Path:
    for name in "ab":
        as_file(f"{name}.safetensors", raw({name: _entry(0, 8, [2], "F32")}, bytes(8)))
    return folder()


def seeds() -> list[bytes]:
    header = {
        "__metadata__": {"format": "pt"},
        "w": _entry(0, 24, [2, 3], "F32"),
        "norm": _entry(24, 30, [3], "BF16"),
        "one": _entry(30, 31, [], "I8"),
        "none": _entry(31, 31, [0, 4], "F16"),
    }
    index = {"metadata": {"total_size": 16}, "weight_map": {n: f"{n}.safetensors" for n in "ab"}}
    return [raw(header, bytes(31)), raw({}), json.dumps(index).encode()]


def _mutate(data: bytes, random: Random) -> bytes:
    """Mostly of the header, which then has its right length in front."""
    if data[:1] == b"{":
        return mutate_json(data, random)
    end = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or end > len(data) or random.randrange(4) == 0:
        return mutate_bytes(data, random)
    header = mutate_json(data[8:end], random)
    return struct.pack("<Q", len(header)) + header + data[end:]


TARGET = Target(
    "safetensors",
    run,
    seeds,
    (ModelFormatError, ExportError),
    _mutate,
    (
        b'"dtype":',
        b'"shape":[',
        b'"data_offsets":[',
        b'"F32"',
        b'"BF16"',
        b'"weight_map":',
        b"9" * 400,
    ),
)
