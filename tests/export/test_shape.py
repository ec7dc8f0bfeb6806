"""Configurations: what is read, and variants that would be computed wrongly refused by name."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from stepguard.errors import ExportError, ModelFormatError
from stepguard.export.checkpoint import Checkpoint, open_checkpoint
from stepguard.export.shape import (
    MAX_CONV_WIDTH,
    MAX_HEAD_DIM,
    shape_of_config,
    shape_of_gguf,
)
from stepguard.export.source import Source
from stepguard.export.tensors import TensorInfo, TensorStore
from stepguard.manifest import Architecture
from tests.conftest import ROOT
from tests.export.tiny import make_checkpoint

# As older versions of transformers write it.
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "vocab_size": 100,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "rope_scaling": None,
    "tie_word_embeddings": False,
}
GGUF: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.embedding_length": 64,
    "llama.feed_forward_length": 96,
    "llama.block_count": 2,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.context_length": 512,
    "llama.attention.layer_norm_rms_epsilon": 9.999999747378752e-06,
    "llama.rope.freq_base": 500000.0,
}


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in LLAMA.items() if k != key}


def test_an_old_config() -> None:
    shape = shape_of_config(LLAMA, True)
    assert (shape.head_dim, shape.query, shape.key, shape.rope_theta) == (16, 64, 32, 500000.0)
    assert shape.rope_scaling is None
    assert (shape.tied, shape.qkv_bias, shape.output_bias) == (False, False, False)


def test_a_new_config() -> None:
    rope = {"rope_type": "linear", "rope_theta": 1e6, "factor": 2.0}
    shape = shape_of_config(without("rope_theta") | {"rope_parameters": rope}, True)
    assert shape.rope_theta == 1e6
    assert shape.rope_scaling == {"rope_type": "linear", "factor": 2.0}


def test_an_old_config_with_scaling() -> None:
    scaling = {"type": "linear", "factor": 2.0}
    shape = shape_of_config(LLAMA | {"rope_scaling": scaling}, True)
    assert shape.rope_theta == 500000.0
    assert shape.rope_scaling == {"rope_type": "linear", "factor": 2.0}


def test_what_is_not_stated() -> None:
    assert shape_of_config(without("num_key_value_heads"), True).kv_heads == 4
    assert shape_of_config(without("tie_word_embeddings"), True).tied is False
    assert shape_of_config(without("tie_word_embeddings"), False).tied is True
    assert shape_of_config(LLAMA | {"model_type": "qwen3"}, True).head_dim == 128
    assert shape_of_config(LLAMA | {"head_dim": 10}, True).head_dim == 10


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("bias", [True, False])
def test_biases(name: str, bias: bool) -> None:
    shape = shape_of_config(LLAMA | {"model_type": name, "attention_bias": bias}, True)
    expected = (True, False) if name == "qwen2" else (bias, bias)
    assert (shape.qkv_bias, shape.output_bias) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "mistral"},
            "model_type: expected one of llama, qwen2, qwen3.*got 'mistral'",
        ),
        ({"model_type": None}, "model_type"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "causal language modelling"),
        ({"hidden_act": "gelu"}, "hidden_act: expected silu, got 'gelu'"),
        ({"mlp_bias": True}, "mlp_bias: expected none"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config.*gptq"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "got 'yarn'"),
        ({"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "got 'dynamic'"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        (
            {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1},
            "sliding_window: expected full attention",
        ),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
    ],
)
def test_variants_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        shape_of_config(LLAMA | changes, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_sliding_window": False, "sliding_window": 64, "max_window_layers": 1},
        {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 2},
        {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 1},
        {"layer_types": ["full_attention", "full_attention"]},
    ],
)
def test_a_window_that_no_layer_uses(changes: dict[str, Any]) -> None:
    assert shape_of_config(LLAMA | {"model_type": "qwen2"} | changes, True).layers == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 1 << 30}, "num_hidden_layers: expected .*10000 at most"),
        ({"hidden_size": None}, "hidden_size: expected a positive whole number, got None"),
        ({"hidden_size": "64"}, "hidden_size"),
        ({"hidden_size": 64.0}, "hidden_size"),
        ({"num_hidden_layers": -1}, "num_hidden_layers"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
        ({"rms_norm_eps": 0}, "rms_norm_eps"),
        ({"rms_norm_eps": float("inf")}, "rms_norm_eps"),
        ({"attention_bias": 1}, "attention_bias: expected true or false"),
        ({"num_key_value_heads": 3}, "a multiple of 3"),
        ({"head_dim": 15}, "an even number"),
        ({"rope_scaling": "llama3"}, "rope: expected an object"),
    ],
)
def test_wrong_values(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        shape_of_config(LLAMA | changes, True)


@pytest.mark.parametrize("size", [258, 1024])
def test_heads_that_no_operation_reads(size: int) -> None:
    with pytest.raises(ExportError, match=f"head_dim: expected 1 to 256.*got {size}"):
        shape_of_config(LLAMA | {"head_dim": size}, True)


def test_the_limits_are_those_of_the_operations() -> None:
    text = (ROOT / "cpp_kernels" / "kernels.h").read_text(encoding="utf-8")
    found = dict(re.findall(r"constexpr int (kMax\w+) = (\d+);", text))
    assert (found["kMaxHeadDim"], found["kMaxConvWidth"]) == (
        str(MAX_HEAD_DIM),
        str(MAX_CONV_WIDTH),
    )


def test_gguf_metadata() -> None:
    shape = shape_of_gguf(GGUF, frozenset({"blk.0.attn_q.bias", "output.weight"}), 100)
    assert (shape.head_dim, shape.vocabulary, shape.epsilon) == (16, 100, 1e-5)
    assert (shape.qkv_bias, shape.output_bias, shape.tied) == (True, False, False)
    assert shape_of_gguf(GGUF | {"llama.attention.key_length": 20}, frozenset(), 100).head_dim == 20
    scaled = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    scaling = shape_of_gguf(GGUF | scaled, frozenset(), 100).rope_scaling
    assert scaling == {"rope_type": "linear", "factor": 4.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general.architecture": "gemma"}, "got 'gemma'"),
        ({"llama.attention.sliding_window": 4096}, "sliding_window"),
        ({"llama.expert_count": 8}, "expert_count"),
        ({"llama.rope.scaling.type": "yarn"}, "got 'yarn'"),
        ({"llama.rope.dimension_count": 8}, "rope.dimension_count"),
        ({"llama.attention.value_length": 8}, "value_length"),
    ],
)
def test_gguf_variants_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        shape_of_gguf(GGUF | changes, frozenset(), 100)


def test_gguf_heads_per_layer_are_refused() -> None:
    with pytest.raises(ModelFormatError, match="head_count_kv"):
        shape_of_gguf(GGUF | {"llama.attention.head_count_kv": [2, 0]}, frozenset(), 100)


def changed(folder: Path, drop: tuple[str, ...] = (), **add: tuple[int, ...]) -> Source:
    """The checkpoint in `folder` with tensors left out, added or misshapen."""
    opened = open_checkpoint(folder)
    tensors = {k: v for k, v in opened.store.tensors.items() if not k.endswith(drop or ("\0",))}
    for name, shape in add.items():
        tensors[name] = TensorInfo(name, shape, "F32", folder / "x", 0, 0)
    checkpoint = Checkpoint("safetensors", folder, opened.config, TensorStore(tensors))
    return Source(checkpoint, shape_of_config(opened.config, True), "auto")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("c"), "qwen2", 1)


def test_missing_tensors_are_listed_at_once(folder: Path) -> None:
    with pytest.raises(ModelFormatError) as caught:
        changed(folder, ("k_proj.bias", "up_proj.weight")).check_tensors()
    assert "missing tensors" in str(caught.value)
    for layer in (0, 1):
        assert f"model.layers.{layer}.self_attn.k_proj.bias" in str(caught.value)
        assert f"model.layers.{layer}.mlp.up_proj.weight" in str(caught.value)


def test_unknown_tensors_are_listed(folder: Path) -> None:
    source = changed(folder, **{"model.layers.0.self_attn.g_proj.weight": (1,), "score": (2,)})
    with pytest.raises(ModelFormatError, match=r"unknown tensors.*g_proj.weight, score"):
        source.check_tensors()


def test_buffers_are_ignored(folder: Path) -> None:
    changed(folder, **{"model.layers.0.self_attn.rotary_emb.inv_freq": (10,)}).check_tensors()


def test_misshapen_tensors_are_listed(folder: Path) -> None:
    source = changed(folder, **{"model.norm.weight": (5,), "lm_head.weight": (72, 416)})
    with pytest.raises(ModelFormatError, match=r"misshapen.*norm.weight \[5\] instead of \[72\]"):
        source.check_tensors()


def test_the_manifest_has_all_fields() -> None:
    written = shape_of_config(LLAMA, True).to_manifest()
    needed = {field.name for field in fields(Architecture) if field.default is MISSING}
    assert needed <= written.keys() <= {field.name for field in fields(Architecture)}
