"""Hybrids: their configurations, their towers, and heads that alternate in one matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepguard.errors import ExportError, ModelFormatError
from stepguard.export.architecture import Linear
from stepguard.export.checkpoint import Checkpoint, open_checkpoint
from stepguard.export.lora import LowRank
from stepguard.export.matrix import Part, take_half
from stepguard.export.shape import shape_of_config, shape_of_gguf
from stepguard.export.source import Source
from stepguard.export.tensors import TensorInfo, TensorStore
from stepguard.export.tower import text_name, text_tower
from tests.export.tiny import make_checkpoint

# The language part of a published configuration, made small.
TEXT: dict[str, Any] = {
    "model_type": "qwen3_5_text",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "vocab_size": 100,
    "rms_norm_eps": 1e-6,
    "full_attention_interval": 4,
    "attn_output_gate": True,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1e7,
        "partial_rotary_factor": 0.25,
        "mrope_interleaved": True,
        "mrope_section": [2, 1, 1],
    },
}
WHOLE: dict[str, Any] = {
    "model_type": "qwen3_5",
    "architectures": ["Qwen3_5ForConditionalGeneration"],
    "text_config": TEXT | {"tie_word_embeddings": False},
    "vision_config": {"hidden_size": 3},
    "tie_word_embeddings": True,
}


def test_a_published_configuration() -> None:
    shape = shape_of_config(TEXT, True)
    assert shape.kinds == ("delta", "delta", "delta", "attention", "delta", "delta")
    assert (shape.rotary_dim, shape.rope_theta, shape.rope_scaling) == (8, 1e7, None)
    assert shape.to_manifest()["delta"] == {
        "layers": 5,
        "k_heads": 2,
        "v_heads": 4,
        "k_dim": 16,
        "v_dim": 8,
        "conv_width": 4,
    }
    assert (shape.dimension("channels"), shape.dimension("values")) == (96, 32)


def test_what_is_not_stated() -> None:
    bare = {
        k: v for k, v in TEXT.items() if k not in ("full_attention_interval", "rope_parameters")
    }
    shape = shape_of_config(bare | {"rope_theta": 1e7}, True)
    assert shape.kinds.count("attention") == 1
    assert shape.rotary_dim == 8
    every = ["full_attention"] * 6
    plain = shape_of_config(bare | {"layer_types": every, "partial_rotary_factor": 1.0}, True)
    assert (plain.delta, plain.rotary_dim) == (None, 32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_types": ["full_attention"]}, "layer_types: expected a list of 6"),
        ({"layer_types": ["sliding_attention"] * 6}, "layer_types"),
        ({"linear_num_value_heads": 3}, "linear_num_value_heads: expected a multiple of 2"),
        ({"linear_conv_kernel_dim": None}, "linear_conv_kernel_dim"),
        ({"head_dim": 12}, "partial_rotary_factor: expected an even part"),
    ],
)
def test_wrong_values(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        shape_of_config(TEXT | changes, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"linear_conv_kernel_dim": 9}, "conv_width: expected 2 to 8"),
        ({"linear_conv_kernel_dim": 1}, "conv_width: expected 2 to 8"),
        ({"linear_key_head_dim": 257}, "k_dim: expected 1 to 256"),
        ({"linear_value_head_dim": 257}, "v_dim: expected 1 to 256"),
    ],
)
def test_sizes_that_no_operation_reads(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        shape_of_config(TEXT | changes, True)


def test_a_model_without_output_gate_is_refused() -> None:
    with pytest.raises(ExportError, match="attn_output_gate"):
        shape_of_config(TEXT | {"attn_output_gate": False}, True)


@pytest.mark.parametrize("name", ["qwen35moe", "qwen3_5_text", ""])
def test_other_gguf_architectures_are_refused_by_name(name: str) -> None:
    expected = f"expected one of llama, qwen2, qwen3, qwen35, got '{name}'"
    with pytest.raises(ExportError, match=expected):
        shape_of_gguf({"general.architecture": name}, frozenset(), 100)


def opened(config: dict[str, Any], *names: str) -> Checkpoint:
    tensors = {name: TensorInfo(name, (1,), "F32", Path("x"), 0, 4) for name in names}
    return Checkpoint("safetensors", Path("x"), config, TensorStore(tensors))


def test_the_text_tower_of_a_model_that_sees(caplog: pytest.LogCaptureFixture) -> None:
    names = [
        "lm_head.weight",
        "model.language_model.norm.weight",
        "model.visual.a",
        "mtp.b",
        "mtp.c",
    ]
    with caplog.at_level("INFO", "stepguard.export"):
        tower = text_tower(opened(WHOLE, *names))
    assert sorted(tower.store.tensors) == ["lm_head.weight", "model.norm.weight"]
    assert "1 tensors of vision are dropped" in caplog.text
    assert "2 tensors of multi-token prediction are dropped" in caplog.text
    assert shape_of_config(tower.config, True).tied  # the switch of the whole model
    assert shape_of_config(tower.config, True).layers == 6


def test_other_tasks_and_missing_text_are_refused() -> None:
    with pytest.raises(ExportError, match="Qwen3_5ForSequenceClassification"):
        text_tower(opened(WHOLE | {"architectures": ["Qwen3_5ForSequenceClassification"]}))
    with pytest.raises(ModelFormatError, match="text_config"):
        text_tower(opened(WHOLE | {"text_config": None}))


def test_other_architectures_keep_all_tensors() -> None:
    checkpoint = opened({"model_type": "llama"}, "model.visual.a")
    assert text_tower(checkpoint) is checkpoint
    assert text_name("model.language_model.layers.0.x") == "model.layers.0.x"
    assert text_name("model.layers.0.x") == "model.layers.0.x"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kinds = ["linear_attention", "full_attention"]
    folder = tmp_path_factory.mktemp("hybrid")
    return make_checkpoint(folder, "qwen3_5_text", 1, head_dim=24, layer_types=kinds)


def test_heads_of_query_and_gate_alternate(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    source = Source(checkpoint, shape_of_config(checkpoint.config, True), "float32")
    source.check_tensors()
    (linear,) = (
        operation
        for operation in source.shape.operations(1)
        if isinstance(operation, Linear) and operation.name == "attention.qkv"
    )
    query, _, _, gate = source.matrix(1, linear).parts
    name = "model.layers.1.self_attn.q_proj.weight"
    stored = checkpoint.store.whole(name).reshape(3, 2, 24, 72)
    for part, half in ((query, 0), (gate, 1)):
        wanted = stored[:, half].reshape(72, 72)
        assert part.shape == (72, 72)
        assert (part.floats(0, 72) == wanted).all()
        assert (part.floats(23, 50) == wanted[23:50]).all()
    low = LowRank(np.ones((144, 1), np.float32), np.ones((1, 72), np.float32), 0.5)
    low.b[:] = np.arange(144)[:, None]
    part = Part(checkpoint.store, name, delta=low, paired_head=24, half=1)
    added = part.floats(20, 30) - gate.floats(20, 30)
    assert np.allclose(added[:, 0], np.arange(144).reshape(3, 2, 24)[:, 1].ravel()[20:30] * 0.5)
    assert source.matrix_shapes()[name.removesuffix(".weight")] == (144, 72)
    assert (take_half(np.arange(8), 2, 1) == [2, 3, 6, 7]).all()


def test_missing_parts_of_a_delta_layer_are_listed(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    tensors = {
        name: info
        for name, info in checkpoint.store.tensors.items()
        if not name.endswith(("A_log", "in_proj_z.weight"))
    }
    damaged = Checkpoint("safetensors", folder, checkpoint.config, TensorStore(tensors))
    source = Source(damaged, shape_of_config(checkpoint.config, True), "float32")
    with pytest.raises(ModelFormatError) as caught:
        source.check_tensors()
    assert "model.layers.0.linear_attn.A_log" in str(caught.value)
    assert "model.layers.0.linear_attn.in_proj_z.weight" in str(caught.value)
