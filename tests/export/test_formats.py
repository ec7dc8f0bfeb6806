"""What becomes of each stored type: kept bit for bit, promoted without loss, or requantised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from stepguard.export import export_model
from stepguard.export.formats import format_of, widest
from tests.export.gguf_files import write_gguf
from tests.export.interpret import Directory, unpack
from tests.export.tiny import make_checkpoint

SIZE = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "num_hidden_layers": 1,
}
GROUPS = {
    "layer0/attention.qkv": ("attn_q", "attn_k", "attn_v"),
    "layer0/attention.out": ("attn_output",),
    "layer0/mlp.gate_up": ("ffn_gate", "ffn_up"),
    "layer0/mlp.down": ("ffn_down",),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # qwen2: its converter does not permute rows, so stored and exported rows are the same rows
    return make_checkpoint(tmp_path_factory.mktemp("c"), "qwen2", 1, **SIZE)


Made = tuple[Directory, dict[str, Any], Any]


@pytest.fixture
def made(folder: Path, tmp_path: Path) -> Callable[..., Made]:
    """Exports the checkpoint through a GGUF file of given types: (directory, stored, manifest)."""

    def make(kind_of: Callable[[str], Kind], quant: str = "auto") -> Made:
        file = write_gguf(tmp_path / "m.gguf", folder, kind_of, pre="qwen2")
        manifest = export_model(file, tmp_path / "o", quant=quant)
        stored = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
        return Directory(tmp_path / "o"), stored, manifest

    return make


def linears(directory: Directory) -> list[Any]:
    return [node for node in directory.model.graph.node if node.op_type == "Linear"]


def dequantised(stored: dict[str, Any], node: Any) -> Any:
    tensors = [stored[f"blk.0.{name}.weight"] for name in GROUPS[node.name]]
    rows = [gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in tensors]
    return np.concatenate(rows)


@pytest.mark.parametrize(
    ("kind", "quant", "form"),
    [
        (Kind.Q4_0, "auto", "int4"),
        (Kind.Q4_0, "int4", "int4"),
        (Kind.Q4_0, "int8", "int8"),
        (Kind.Q8_0, "auto", "int8"),
        (Kind.Q8_0, "int8", "int8"),
        (Kind.Q4_1, "float32", "float32"),
        (Kind.Q4_K, "float32", "float32"),
        (Kind.Q6_K, "float32", "float32"),
    ],
)
def test_nothing_is_lost(
    made: Callable[..., Made],
    caplog: pytest.LogCaptureFixture,
    kind: Kind,
    quant: str,
    form: str,
) -> None:
    directory, stored, manifest = made(lambda _: kind, quant)
    assert manifest.quantisation.linear == {form: 4}
    for node in linears(directory):
        assert np.array_equal(directory.dense(node), dequantised(stored, node))
    table = directory.table(directory.model.graph.node[0], 1)
    embedding = stored["token_embd.weight"]
    assert np.array_equal(table, gguf.quants.dequantize(embedding.data, kind))
    assert "requantised" not in caplog.text


@pytest.mark.parametrize("kind", [Kind.Q4_0, Kind.Q8_0])
def test_kept_blocks_nibble_by_nibble(made: Callable[..., Made], kind: Kind) -> None:
    directory, stored, _ = made(lambda _: kind)
    node = linears(directory)[-1]  # mlp.down: one part, 256 rows of 512
    tensor = stored["blk.0.ffn_down.weight"].data.reshape(256, 16, -1)
    form = directory.attributes[node.name]["format"].decode()
    values = unpack(directory.tensors[node.input[1]], form).reshape(256, 16, 32)
    scales = directory.tensors[node.input[2]].transpose(0, 2, 1).reshape(256, 16)
    assert scales.tobytes() == np.ascontiguousarray(tensor[..., :2]).tobytes()
    packed = tensor[..., 2:]
    if kind == Kind.Q4_0:
        assert np.array_equal(values[..., :16] + 8, packed & 15)
        assert np.array_equal(values[..., 16:] + 8, packed >> 4)
    else:
        assert np.array_equal(values, packed.view(np.int8))


def test_mixed_groups_take_the_wider_format(made: Callable[..., Made]) -> None:
    wide = {"attn_k", "ffn_up"}
    directory, stored, manifest = made(
        lambda name: Kind.Q8_0 if name.split(".")[-2] in wide else Kind.Q4_0
    )
    assert manifest.quantisation.linear == {"int8": 2, "int4": 2}
    for node in linears(directory):
        assert np.array_equal(directory.dense(node), dequantised(stored, node))


@pytest.mark.parametrize("kind", [Kind.Q4_1, Kind.Q4_K, Kind.Q6_K, Kind.Q8_0, Kind.F16, Kind.BF16])
@pytest.mark.parametrize(("quant", "bound"), [("auto", 1e-4), ("int4", 0.01)])
def test_requantised(
    made: Callable[..., Made],
    caplog: pytest.LogCaptureFixture,
    kind: Kind,
    quant: str,
    bound: float,
) -> None:
    with caplog.at_level("INFO", "stepguard.export"):
        directory, stored, manifest = made(lambda _: kind, quant)
    form = "int8" if quant == "auto" else quant
    assert manifest.quantisation.linear == {form: 4}
    assert manifest.quantisation.search == ("grid8-lsq" if form == "int4" else "none")
    for node in linears(directory):
        exact = dequantised(stored, node)
        error = ((directory.dense(node) - exact) ** 2).sum() / (exact**2).sum()
        assert error < bound
    kept = kind == Kind.Q8_0 and quant == "auto"
    word = "quantised" if kind in (Kind.F16, Kind.BF16) else "requantised"
    said = f"{kind.name} matrices are {word} to {form}"
    assert caplog.text.count(said) == (0 if kept else 1)


def test_label_rows_are_float32_of_the_output_matrix(made: Callable[..., Made]) -> None:
    directory, stored, _ = made(lambda _: Kind.Q6_K)
    output = stored["output.weight"]
    exact = gguf.quants.dequantize(output.data, Kind.Q6_K)
    ids = directory.tensors["read_out.row_ids"]
    assert len(ids) >= 2
    assert (np.diff(ids) > 0).all()
    assert np.array_equal(directory.tensors["read_out.rows"], exact[ids])
    table = directory.table(directory.model.graph.node[-1], 6)
    assert 0 < np.abs(table - exact).max() < 0.01


@pytest.mark.parametrize(
    ("kind", "quant", "form", "merged", "expected"),
    [
        ("F32", "auto", "safetensors", False, ("int4", False)),
        ("BF16", "auto", "gguf", False, ("int8", False)),
        ("Q4_0", "auto", "gguf", False, ("int4", True)),
        ("Q4_0", "auto", "gguf", True, ("int8", False)),
        ("Q4_0", "int8", "gguf", False, ("int8", True)),
        ("Q8_0", "int4", "gguf", False, ("int4", False)),
        ("Q8_0", "float32", "gguf", False, ("float32", False)),
    ],
)
def test_the_table(kind: str, quant: str, form: str, merged: bool, expected: Any) -> None:
    assert format_of(kind, quant, form, merged) == expected


def test_widest() -> None:
    assert widest(["int4", "int8", "int4"]) == "int8"
    assert widest(["int4", "float32", "int8"]) == "float32"
