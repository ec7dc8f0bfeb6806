"""A GGUF file: header, metadata, and the rows of its tensors."""

from __future__ import annotations

import struct
from random import Random

from stepguard.errors import ExportError, ModelFormatError
from stepguard.export.checkpoint import open_checkpoint
from stepguard.export.tensors import BLOCKS, FLOAT_KINDS
from tests.fuzz.mutate import mutate_bytes
from tests.fuzz.target import Target, as_file

_F32, _Q8_0, _Q4_0 = 0, 8, 2
_U32, _FLOAT, _BOOL, _STRING, _ARRAY, _U64 = 4, 6, 7, 8, 9, 10
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_MOST_READ = 1 << 20


def run(data: bytes) -> None:
    checkpoint = open_checkpoint(as_file("model.gguf", data))
    with checkpoint.store as store:
        for info in store.tensors.values():
            assert info.offset + info.nbytes <= len(data)
            whole = len(info.shape) > 1 or info.kind in FLOAT_KINDS
            if info.kind in BLOCKS and whole and info.nbytes < _MOST_READ:
                assert store.raw(info.name, 0, info.shape[0]).nbytes == info.nbytes


def text(value: str) -> bytes:
    """A string as GGUF has it."""
    return struct.pack("<Q", len(value.encode())) + value.encode()


def header(values: list[bytes], tensors: list[bytes], data: bytes = b"") -> bytes:
    """A file of metadata entries, tensor entries and aligned data."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values)) + b"".join(values + tensors)
    return head + bytes(-len(head) % 32) + data


def entry(key: str, kind: int, value: bytes) -> bytes:
    """One metadata entry."""
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str, dims: tuple[int, ...], kind: int, offset: int) -> bytes:
    """One tensor entry; `dims` as GGUF has them, the shortest stride first."""
    sizes = struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
    return text(name) + sizes + struct.pack("<IQ", kind, offset)


def seeds() -> list[bytes]:
    values = [
        entry("general.architecture", _STRING, text("llama")),
        entry("general.alignment", _U32, struct.pack("<I", 32)),
        entry("split.count", _U32, struct.pack("<I", 1)),
        entry("rope.freq_base", _FLOAT, struct.pack("<f", 1e4)),
        entry("switch", _BOOL, b"\x01"),
        entry("big", _U64, struct.pack("<Q", 1 << 40)),
        entry("words", _ARRAY, struct.pack("<IQ", _STRING, 2) + text("a") + text("ß")),
        entry("numbers", _ARRAY, struct.pack("<IQ3I", _U32, 3, 1, 2, 3)),
        entry("lists", _ARRAY, struct.pack("<IQ", _ARRAY, 2) + struct.pack("<IQB", 0, 1, 7) * 2),
    ]
    tensors = [
        tensor("token_embd.weight", (32, 2), _Q8_0, 0),
        tensor("norm.weight", (4,), _F32, 96),
        tensor("w.weight", (32, 1), _Q4_0, 128),
        tensor("cube", (1, 2, 1, 2), _F32, 160),
    ]
    return [header(values, tensors, bytes(176)), header([], []), header(values, [])]


_WORDS = (b"GGUF", text("general.alignment"), text("split.count"), struct.pack("<IQ", _ARRAY, 1))
_WORDS += tuple(struct.pack("<I", kind) for kind in range(14))
_WORDS += (struct.pack("<Q", 1 << 60), struct.pack("<Q", (1 << 64) - 1), struct.pack("<Q", 1 << 28))


_KEYS = ("general.alignment", "split.count", "general.architecture", "a", "", "a")


def _value(kind: int, random: Random) -> bytes:
    """Well-formed, of any kind and any number."""
    if kind == _STRING:
        return text(random.choice(("", "2", "ß", "llama")))
    if kind == _ARRAY:
        item = random.choice((0, _STRING, _ARRAY))
        count = random.choice((0, 1, 1, 3))
        return struct.pack("<IQ", item, count) + b"".join(
            _value(item, random) for _ in range(count)
        )
    return random.choice((bytes(8), b"\xff" * 8, b"\x01" + bytes(7)))[: _SIZES.get(kind, 8)]


def _mutate(data: bytes, random: Random) -> bytes:
    if random.randrange(3):
        return mutate_bytes(data, random, _WORDS)
    kinds = [random.randrange(13) for _ in range(random.randrange(4))]
    values = [entry(random.choice(_KEYS), kind, _value(kind, random)) for kind in kinds]
    sizes = [random.choice((0, 1, 32, 33, 1 << 40)) for _ in range(random.randint(1, 4))]
    one = tensor("w", tuple(sizes), random.randrange(40), random.choice((0, 32, 1 << 63)))
    return header(values, [one][: random.randrange(2)], bytes(64))


TARGET = Target("gguf", run, seeds, (ModelFormatError, ExportError), _mutate, _WORDS)
