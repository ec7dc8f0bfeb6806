"""Qwen3.5 as GGUF: blocks that are kept, blocks that cannot be, and metadata that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from stepguard.errors import ExportError, ModelFormatError, StepguardError
from stepguard.export import export_model
from stepguard.export.checkpoint import open_checkpoint
from stepguard.export.shape import shape_of_gguf
from stepguard.export.tower import text_tower
from stepguard.export.value_heads import ValueHeads, gather
from tests.export.adapters import write_adapter
from tests.export.interpret import Directory
from tests.export.qwen35_gguf import Conversion, dequantised, value_order, write_qwen35
from tests.export.tiny import make_checkpoint

ROPE = {"rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.5}
SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rope_parameters": ROPE,
    "num_hidden_layers": 2,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 6,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 32,
}
GROUPS = {
    "delta.in": ("linear_attn.in_proj_qkv", "linear_attn.in_proj_z"),
    "delta.out": ("linear_attn.out_proj",),
    "delta.gates": ("linear_attn.in_proj_b", "linear_attn.in_proj_a"),
    "attention.out": ("self_attn.o_proj",),
    "mlp.gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.down": ("mlp.down_proj",),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("qwen35"), "qwen3_5_text", 1, **SHAPE)


@pytest.mark.parametrize(("v_heads", "k_heads"), [(6, 2), (6, 3), (4, 4), (3, 1)])
@pytest.mark.parametrize(("size", "start"), [(1, 0), (5, 0), (4, 7)])
def test_places_of_value_heads(v_heads: int, k_heads: int, size: int, start: int) -> None:
    heads, count = ValueHeads(k_heads, v_heads, size, start), start + v_heads * size
    order = np.array([*range(start), *(start + i for i in value_order(k_heads, v_heads, size))])
    wanted = np.argsort(order)
    assert np.array_equal(heads.stored(0, count), wanted)
    assert np.array_equal(heads.stored(3, count - 1), wanted[3 : count - 1])
    table = np.arange(count)[:, None]
    assert np.array_equal(gather(lambda a, b: table[a:b], wanted)[:, 0], wanted)


def test_neighbours_are_read_at_once() -> None:
    reads = []

    def read(begin: int, end: int) -> Any:
        reads.append((begin, end))
        return np.arange(begin, end)

    assert gather(read, np.array([4, 5, 6, 1, 2, 9])).tolist() == [4, 5, 6, 1, 2, 9]
    assert reads == [(4, 7), (1, 3), (9, 10)]


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.Q4_0], ids=lambda kind: kind.name)
def test_blocks_are_kept_bit_for_bit(
    tmp_path: Path, folder: Path, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_qwen35(tmp_path / "m.gguf", folder, Conversion(kind))
    with caplog.at_level("INFO", "stepguard.export"):
        manifest = export_model(file, tmp_path / "o", template="short")
    assert "6 value heads of 32 over 2 key heads are put in the checkpoint's order" in caplog.text
    assert "whole blocks of out_proj at a time" in caplog.text
    assert "requantised" not in caplog.text
    kept = "int8" if kind == Kind.Q8_0 else "int4"
    assert manifest.quantisation.linear == {"float32": 1, kept: 8}
    assert check_matrices(Directory(tmp_path / "o"), dequantised(folder, kind)) == 8


def check_matrices(directory: Directory, weights: dict[str, Any], *without: str) -> int:
    """How many matrices are bit for bit those of a checkpoint; it names the one that is not."""
    count = 0
    for node in directory.model.graph.node:
        layer, _, group = node.name.removeprefix("layer").partition("/")
        if group in GROUPS and group not in without:
            names = [f"model.layers.{layer}.{part}.weight" for part in GROUPS[group]]
            wanted = np.concatenate([weights[name] for name in names])
            assert np.array_equal(directory.dense(node), wanted), node.name
            count += 1
    return count


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.Q4_0], ids=lambda kind: kind.name)
def test_heads_that_share_a_block_are_requantised(
    tmp_path: Path, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    shape = SHAPE | {"linear_value_head_dim": 16}
    folder = make_checkpoint(tmp_path / "c", "qwen3_5_text", 2, **shape)
    file = write_qwen35(tmp_path / "m.gguf", folder, Conversion(kind))
    with caplog.at_level("INFO", "stepguard.export"):
        export_model(file, tmp_path / "o", template="short")
    assert "6 value heads of 16 over 2 key heads: blocks of 32 cross their borders" in caplog.text
    kept = "int8" if kind == Kind.Q8_0 else "int4"
    assert f"{kind.name} matrices are requantised to {kept}" in caplog.text
    directory, weights = Directory(tmp_path / "o"), dequantised(folder, kind)
    assert check_matrices(directory, weights, "delta.out") == 7
    (node,) = (n for n in directory.model.graph.node if n.name == "layer0/delta.out")
    wanted = weights["model.layers.0.linear_attn.out_proj.weight"]
    step = np.abs(wanted).max() / (127 if kind == Kind.Q8_0 else 7)
    assert np.abs(directory.dense(node) - wanted).max() < step


@pytest.mark.parametrize("quant", ["float32", "int8", "int4"])
def test_a_folder_gives_the_same_bytes(tmp_path: Path, folder: Path, quant: str) -> None:
    """Heads, norms and decays come back as they were, up to the rounding of exp and log."""
    export_model(folder, tmp_path / "a", quant=quant, template="short")
    file = write_qwen35(tmp_path / "m.gguf", folder)
    export_model(file, tmp_path / "b", quant=quant, template="short")
    a, b = Directory(tmp_path / "a"), Directory(tmp_path / "b")
    assert a.tensors.keys() == b.tensors.keys()
    assert a.attributes == b.attributes
    for name, value in a.tensors.items():
        if "norm.weight" in name or name.endswith("a_log"):
            np.testing.assert_allclose(b.tensors[name], value, rtol=0, atol=3e-7, err_msg=name)
        else:
            assert np.array_equal(b.tensors[name], value), name


@pytest.mark.parametrize("listed", [False, True])
def test_prediction_of_further_tokens_is_dropped(
    tmp_path: Path, folder: Path, listed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_qwen35(tmp_path / "m.gguf", folder, Conversion(prediction=True, listed=listed))
    with caplog.at_level("INFO", "stepguard.export"):
        manifest = export_model(file, tmp_path / "o", quant="float32", template="short")
    assert "4 tensors of multi-token prediction are dropped (blk.2.*)" in caplog.text
    assert manifest.architecture.layers == 2
    plain = write_qwen35(tmp_path / "plain.gguf", folder)
    export_model(plain, tmp_path / "p", quant="float32", template="short")
    assert (tmp_path / "o/weights.bin").read_bytes() == (tmp_path / "p/weights.bin").read_bytes()


def test_an_adapter_is_merged_in_the_order_of_the_checkpoint(tmp_path: Path, folder: Path) -> None:
    sizes = {"in_proj_qkv": (240, 64), "in_proj_z": (192, 64), "out_proj": (64, 192)}
    adapter = tmp_path / "lora"
    write_adapter(adapter, {f"model.layers.0.linear_attn.{n}": s for n, s in sizes.items()})
    file = write_qwen35(tmp_path / "m.gguf", folder)
    for source, out in ((folder, "a"), (file, "b")):
        export_model(source, tmp_path / out, quant="float32", template="short", adapter=adapter)
    a, b = Directory(tmp_path / "a"), Directory(tmp_path / "b")
    export_model(folder, tmp_path / "c", quant="float32", template="short")
    for group in ("delta.in", "delta.out"):
        name = f"layer0.{group}.weight"
        assert np.array_equal(a.tensors[name], b.tensors[name])
        assert not np.array_equal(a.tensors[name], Directory(tmp_path / "c").tensors[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ssm.conv_kernel": None}, "ssm.conv_kernel: expected a positive whole number, got None"),
        ({"ssm.state_size": None}, "ssm.state_size"),
        ({"ssm.group_count": None}, "ssm.group_count"),
        ({"ssm.group_count": 4}, "ssm.time_step_rank: expected a multiple of 4, got 6"),
        ({"ssm.inner_size": 193}, "ssm.inner_size: expected a multiple of 6, got 193"),
        ({"ssm.v_head_reordered": False}, "ssm.v_head_reordered: expected value heads in llama"),
        ({"rope.dimension_count": None}, "rope.dimension_count: expected a positive"),
        ({"rope.dimension_count": 18}, "rope.dimension_count: expected an even part of key_length"),
        ({"rope.dimension_count": 7}, "rope.dimension_count: expected an even part"),
        ({"full_attention_interval": 3}, r"missing tensors: .* got blk.1.attn_gate.weight"),
        ({"attention.recurrent_layers": [True]}, "recurrent_layers: expected a list of 2 truth"),
        ({"attention.recurrent_layers": [1, 0]}, "recurrent_layers: expected a list of 2 truth"),
        ({"block_count": 3}, r"missing tensors: .*blk.2"),
        ({"block_count": 1 << 30}, "block_count: expected a positive whole number, 10000 at most"),
        ({"nextn_predict_layers": 2}, "nextn_predict_layers: expected less than block_count 2"),
        ({"nextn_predict_layers": 1 << 30}, "nextn_predict_layers: expected .*10000 at most"),
        (
            {"ssm.state_size": 13},
            r"misshapen tensors: .*attn_qkv.weight \[240, 64\] instead of",
        ),
        ({"expert_count": 8}, "qwen35.expert_count: expected none"),
        ({"attention.value_length": 12}, "attention.value_length: expected 16, got 12"),
    ],
)
def test_wrong_metadata_is_named(
    tmp_path: Path, folder: Path, changes: dict[str, Any], message: str
) -> None:
    file = write_qwen35(tmp_path / "m.gguf", folder, Conversion(metadata=changes))
    with pytest.raises((ModelFormatError, ExportError), match=message):
        export_model(file, tmp_path / "o", template="short")
    assert not (tmp_path / "o").exists()


def test_a_file_that_was_not_converted_is_named(tmp_path: Path, folder: Path) -> None:
    """A decay that is no minus exponential would give NaN."""
    file = write_qwen35(tmp_path / "m.gguf", folder)
    whole = bytearray(file.read_bytes())
    info = open_checkpoint(file).store.tensors["blk.0.ssm_a"]
    whole[info.offset : info.offset + 4] = np.float32(0.5).tobytes()
    file.write_bytes(whole)
    with pytest.raises(ModelFormatError, match=r"blk\.0\.ssm_a: expected negative numbers"):
        export_model(file, tmp_path / "o", template="short")


def test_what_a_file_does_not_state(tmp_path: Path, folder: Path) -> None:
    """Every fourth layer attends, as llama.cpp reads such files."""
    file = write_qwen35(tmp_path / "m.gguf", folder, Conversion())
    checkpoint = text_tower(open_checkpoint(file))
    config = {k: v for k, v in checkpoint.config.items() if "interval" not in k}
    shape = shape_of_gguf(config | {"qwen35.block_count": 5}, frozenset(), 416)
    assert shape.kinds == ("delta", "delta", "delta", "attention", "delta")
    assert (shape.rotary_dim, shape.tied) == (8, True)
    assert shape.delta is not None
    stated = json.loads((folder / "config.json").read_text())
    assert shape.delta.v_dim == stated["linear_value_head_dim"]
    with pytest.raises(StepguardError, match="expected one of llama, qwen2, qwen3, qwen35"):
        shape_of_gguf({"general.architecture": "qwen35moe"}, frozenset(), 416)
