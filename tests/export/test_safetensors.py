"""Reading safetensors: what the reference writes, and every kind of damage by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from stepguard.errors import ExportError, ModelFormatError
from stepguard.export.safetensors_header import read_index, read_safetensors
from stepguard.export.tensors import TensorStore


def write_raw(path: Path, header: Any, data: bytes = b"") -> Path:
    """A file with that header (an object or raw bytes) in front of the data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_rows_equal_what_was_saved(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    save_file({"a": values, "b": values.astype(np.float16), "c": values[0]}, tmp_path / "x")
    with TensorStore(read_safetensors(tmp_path / "x")) as store:
        assert np.array_equal(store.rows("a", 2, 6), values[2:6])
        assert np.array_equal(store.rows("b", 0, 7), values.astype(np.float16).astype(np.float32))
        assert np.array_equal(store.whole("c"), values[0])
        assert store.rows("a", 3, 3).shape == (0, 5)
        with pytest.raises(ValueError, match=r"rows 3\.\.8"):
            store.rows("a", 3, 8)


def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path) -> None:
    data = np.array([0x3F80, 0xC000, 0x7F7F, 0x0001], "<u2").tobytes()
    path = write_raw(tmp_path / "x", {"a": entry(0, 8, [2, 2], "BF16")}, data)
    rows = TensorStore(read_safetensors(path)).rows("a", 0, 2)
    assert rows.dtype == np.float32
    assert rows.reshape(-1).view("<u4").tolist() == [0x3F800000, 0xC0000000, 0x7F7F0000, 0x10000]


def test_metadata_is_no_tensor(tmp_path: Path) -> None:
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "x", metadata={"format": "pt"})
    assert list(read_safetensors(tmp_path / "x")) == ["a"]


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        (b"{", b"", "a JSON header"),
        (b"[]", b"", "a JSON object"),
        (b'{"a": 1, "a": 2}', b"", "twice"),
        ({"a": {"dtype": "F32", "shape": [1]}}, bytes(4), "data_offsets of a"),
        ({"a": entry(0, 4, [2])}, bytes(4), "8 bytes of a"),
        ({"a": entry(0, 4, [1], "F4")}, bytes(4), "a known dtype of a"),
        ({"a": entry(0, -4, [1])}, bytes(4), "whole numbers"),
        ({"a": entry(0, 4, [1.5])}, bytes(4), "whole numbers"),
        ({"a": entry(0, 4, [True])}, bytes(4), "whole numbers"),
        ({"a": entry(0, 4, [1]), "b": entry(2, 6, [1])}, bytes(6), "an overlap"),
        ({"a": entry(0, 4, [1]), "b": entry(8, 12, [1])}, bytes(12), "a gap"),
        ({"a": entry(4, 8, [1])}, bytes(8), "a gap"),
        ({"a": entry(0, 8, [2])}, bytes(7), "a file of"),
        ({"a": entry(0, 8, [2])}, bytes(9), "a file of"),
    ],
)
def test_damage_is_named(tmp_path: Path, header: Any, data: bytes, message: str) -> None:
    path = write_raw(tmp_path / "x.safetensors", header, data)
    with pytest.raises(ModelFormatError, match=message) as caught:
        read_safetensors(path)
    assert "x.safetensors" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"abc", (1 << 40).to_bytes(8, "little") + b"{}"])
def test_a_header_longer_than_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ModelFormatError, match="a header of"):
        read_safetensors(tmp_path / "x")


def test_a_header_over_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:  # sparse: no 100 MB are written
        file.write((100_000_001).to_bytes(8, "little"))
        file.truncate(200_000_000)
    with pytest.raises(ModelFormatError, match="at most 100000000"):
        read_safetensors(path)


@pytest.mark.parametrize("dtype", ["F64", "I64", "F8_E4M3"])
def test_other_types_are_refused_when_read(tmp_path: Path, dtype: str) -> None:
    size = 1 if dtype.startswith("F8") else 8
    path = write_raw(tmp_path / "x", {"a": entry(0, size, [1, 1], dtype)}, bytes(size))
    with pytest.raises(ModelFormatError, match=rf"tensor a in x.*got {dtype}"):
        TensorStore(read_safetensors(path)).rows("a", 0, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    rows = np.zeros((4, 3), np.float32)
    rows[2, 1] = value
    save_file({"w": rows}, tmp_path / "x")
    store = TensorStore(read_safetensors(tmp_path / "x"))
    assert store.rows("w", 0, 2).shape == (2, 3)
    with pytest.raises(ExportError, match="tensor w in x: expected finite weights"):
        store.rows("w", 2, 4)


def test_a_file_cut_after_it_was_opened(tmp_path: Path) -> None:
    save_file({"w": np.ones((64, 64), np.float32)}, tmp_path / "x")
    store = TensorStore(read_safetensors(tmp_path / "x"))
    with (tmp_path / "x").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(ModelFormatError, match="the end of the file"):
        store.rows("w", 0, 64)


def shards(folder: Path) -> Path:
    save_file({"a": np.zeros(2, np.float32)}, folder / "one.safetensors")
    save_file({"b": np.ones(2, np.float32)}, folder / "two.safetensors")
    index = folder / "model.safetensors.index.json"
    weight_map = {"a": "one.safetensors", "b": "two.safetensors"}
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    tensors = read_index(tmp_path, shards(tmp_path))
    assert sorted(tensors) == ["a", "b"]
    assert TensorStore(tensors).whole("b").tolist() == [1.0, 1.0]


def test_missing_shards_are_listed(tmp_path: Path) -> None:
    index = shards(tmp_path)
    for name in ("one", "two"):
        (tmp_path / f"{name}.safetensors").unlink()
    with pytest.raises(ModelFormatError, match=r"no one.safetensors, two.safetensors"):
        read_index(tmp_path, index)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../one.safetensors"}, "plain file names"),
        ({"a": "/etc/passwd"}, "plain file names"),
        ({"a": 3}, "plain file names"),
        ({"a": "one.safetensors", "c": "two.safetensors"}, "none of c"),
        ([], "a weight_map"),
    ],
)
def test_a_wrong_index(tmp_path: Path, weight_map: Any, message: str) -> None:
    index = shards(tmp_path)
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ModelFormatError, match=message):
        read_index(tmp_path, index)


def test_one_tensor_in_two_shards(tmp_path: Path) -> None:
    index = shards(tmp_path)
    save_file(
        {"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float32)}, tmp_path / "two.safetensors"
    )
    with pytest.raises(ModelFormatError, match="a in one shard"):
        read_index(tmp_path, index)
