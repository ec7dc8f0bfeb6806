"""Reading GGUF: values equal the reference package's, damage is named."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from stepguard.errors import ExportError, ModelFormatError
from stepguard.export.checkpoint import open_checkpoint
from stepguard.export.gguf_header import read_gguf_header
from stepguard.export.tensors import BLOCKS, TensorStore
from tests.export.gguf_files import add_tensor

KINDS = [getattr(Kind, name) for name in BLOCKS]


@pytest.fixture(scope="module")
def all_kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file with a matrix [6, 512] of every supported type, and one of an unsupported one."""
    path = tmp_path_factory.mktemp("gguf") / "kinds.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_array("words", ["a", "ß", ""])
    writer.add_array("numbers", [1, -2, 3])
    writer.add_float32("number", 0.5)
    writer.add_bool("switch", True)
    values = np.random.default_rng(0).standard_normal((6, 512)).astype(np.float32)
    for kind in KINDS:
        add_tensor(writer, f"w.{kind.name}", values, kind)
    writer.add_tensor("w.odd", gguf.quants.quantize(values, Kind.Q5_0), raw_dtype=Kind.Q5_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_metadata(all_kinds: Path) -> None:
    metadata, _ = read_gguf_header(all_kinds)
    assert metadata["general.architecture"] == "llama"
    assert metadata["words"] == ["a", "ß", ""]
    assert metadata["numbers"] == [1, -2, 3]
    assert (metadata["number"], metadata["switch"]) == (0.5, True)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_values_equal_the_reference(all_kinds: Path, kind: Kind) -> None:
    reference = {t.name: t for t in gguf.GGUFReader(all_kinds).tensors}[f"w.{kind.name}"]
    expected = gguf.quants.dequantize(reference.data, kind)
    with TensorStore(read_gguf_header(all_kinds)[1]) as store:
        info = store.tensors[f"w.{kind.name}"]
        assert (info.shape, info.offset) == ((6, 512), reference.data_offset)
        assert np.array_equal(store.rows(info.name, 0, 6), expected)
        assert np.array_equal(store.rows(info.name, 2, 5), expected[2:5])


def test_other_types_are_refused_by_name(all_kinds: Path) -> None:
    store = TensorStore(read_gguf_header(all_kinds)[1])
    with pytest.raises(ModelFormatError, match=r"tensor w.odd .*got Q5_0"):
        store.rows("w.odd", 0, 1)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.05, 0.5, 0.9999])
def test_a_truncated_file(all_kinds: Path, tmp_path: Path, share: float) -> None:
    whole = all_kinds.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelFormatError, match=r"cut\.gguf"):
        read_gguf_header(path)


def raw(version: int = 3, tensors: int = 0, values: bytes = b"", count: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, count) + values


def field(key: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + bytes(40), "the magic GGUF"),
        (raw(version=1), "version 2 or 3"),
        (raw(version=3 << 24), "version 2 or 3"),
        (raw(count=1, values=field("a", 99, b"")), "a GGUF value type"),
        (raw(count=1, values=field("a", 8, text(b"\xff\xfe"))), "UTF-8"),
        (raw(count=1, values=field("a", 8, struct.pack("<Q", 1 << 60))), "a string"),
        (raw(count=1, values=field("a", 9, struct.pack("<IQ", 0, 1 << 60))), "an array"),
        (raw(count=1, values=field("general.alignment", 4, struct.pack("<I", 3))), "power of two"),
        (raw(tensors=1, values=text(b"w") + struct.pack("<I", 9)), "1 to 4 dimensions"),
        (
            raw(tensors=1, values=text(b"w") + struct.pack("<IQIQ", 1, 1 << 40, 0, 0)),
            "tensor w in bad.gguf",
        ),
        (
            raw(tensors=1, values=text(b"w") + struct.pack("<IQIQ", 1, 33, 8, 0)),
            "rows of whole 32s",
        ),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=message):
        read_gguf_header(path)


def test_a_tensor_twice(tmp_path: Path) -> None:
    one = text(b"w") + struct.pack("<IQIQ", 1, 1, 0, 0)
    path = tmp_path / "bad.gguf"
    path.write_bytes(raw(tensors=2, values=one * 2) + bytes(64))
    with pytest.raises(ModelFormatError, match="one tensor of that name"):
        read_gguf_header(path)


def test_block_scales_that_are_no_numbers(tmp_path: Path) -> None:
    from stepguard.export.matrix import Part

    path = tmp_path / "nan.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    data = gguf.quants.quantize(np.ones((2, 32), np.float32), Kind.Q8_0)
    data[1, :2] = np.float16(np.nan).reshape(1).view(np.uint8)
    writer.add_tensor("w", data, raw_dtype=Kind.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part = Part(TensorStore(read_gguf_header(path)[1]), "w", kept=True)
    with pytest.raises(ExportError, match="tensor w: expected finite block scales"):
        part.blocks(0, 2, "int8")


def test_split_files_name_the_command(tmp_path: Path) -> None:
    path = tmp_path / "m-00001-of-00002.gguf"
    path.write_bytes(raw(count=1, values=field("split.count", 2, struct.pack("<H", 2))))
    with pytest.raises(ExportError, match="llama-gguf-split --merge"):
        open_checkpoint(path)
