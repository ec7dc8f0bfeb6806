"""Adapters: merged as a dense merge would, everything that is not a plain LoRA refused by name."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stepguard.errors import ExportError, ModelFormatError
from stepguard.export import export_model
from stepguard.export.lora import LowRank, read_adapter
from tests.export.adapters import write_adapter
from tests.export.gguf_files import Kind, write_gguf
from tests.export.interpret import Directory
from tests.export.tiny import make_checkpoint

SHAPES = {
    "model.layers.0.self_attn.q_proj": (60, 72),
    "model.layers.1.self_attn.k_proj": (20, 72),
    "model.layers.0.mlp.up_proj": (88, 72),
    "model.layers.1.mlp.down_proj": (72, 88),
    "lm_head": (416, 72),
}


def merged(folder: Path, out: Path, products: dict[str, Any], scale: float) -> Path:
    """A copy of the checkpoint with the products added to its matrices."""
    shutil.copytree(folder, out)
    tensors = load_file(folder / "model.safetensors")
    for name, product in products.items():
        tensors[f"{name}.weight"] = tensors[f"{name}.weight"] + np.float32(scale) * product
    save_file(tensors, out / "model.safetensors")
    return out


@pytest.mark.parametrize(("rslora", "scale"), [(False, 2.0), (True, 6 / 3**0.5)])
def test_equal_to_a_dense_merge(tmp_path: Path, rslora: bool, scale: float) -> None:
    folder = make_checkpoint(tmp_path / "base", "llama", 2)
    products = write_adapter(tmp_path / "lora", SHAPES, use_rslora=rslora)
    dense = merged(folder, tmp_path / "dense", products, scale)
    export_model(folder, tmp_path / "a", quant="float32", adapter=tmp_path / "lora")
    export_model(dense, tmp_path / "b", quant="float32")
    a, b = Directory(tmp_path / "a"), Directory(tmp_path / "b")
    for name, value in b.tensors.items():
        np.testing.assert_allclose(a.tensors[name], value, rtol=0, atol=2e-6)
    plain = load_file(folder / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    assert np.abs(a.dense(a.model.graph.node[2])[:60] - plain).max() > 0.1


def test_an_fp16_adapter_gives_the_same_bits_in_every_order() -> None:
    generator = np.random.default_rng(5)
    b, a = (
        (generator.standard_normal(size) * 10.0 ** generator.integers(-6, 1, size))
        .astype(np.float16)
        .astype(np.float32)
        for size in ((40, 16), (16, 56))
    )
    rows = LowRank(b, a, 2.0).rows(3, 40)
    assert rows.dtype == np.float32
    # The exact sums: whole numbers of 2^-48 in Python's integers.
    whole_b, whole_a = ([[int(v * 2**24) for v in row] for row in m.tolist()] for m in (b, a))
    for i, j in ((0, 0), (7, 11), (36, 55)):
        exact = sum(whole_b[i + 3][r] * whole_a[r][j] for r in range(16))
        assert rows[i, j] == np.float32(2.0 * exact / 2**48)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(16)
        assert np.array_equal(LowRank(b[:, order], a[order], 2.0).rows(3, 40), rows)


def test_a_permuted_gguf_file_merges_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    size = {"hidden_size": 64, "head_dim": 16, "num_attention_heads": 4, "intermediate_size": 96}
    folder = make_checkpoint(tmp_path / "base", "llama", 2, num_key_value_heads=2, **size)
    products = write_adapter(
        tmp_path / "lora",
        {"model.layers.0.self_attn.q_proj": (64, 64), "model.layers.1.self_attn.k_proj": (32, 64)},
    )
    file = write_gguf(tmp_path / "m.gguf", folder, lambda _: Kind.Q4_0)
    export_model(file, tmp_path / "a", quant="float32")
    with caplog.at_level("WARNING", "stepguard.export"):
        export_model(file, tmp_path / "b", adapter=tmp_path / "lora")
    assert "Q4_0 matrices are dequantised, merged with the adapter: int8" in caplog.text
    a, b = Directory(tmp_path / "a"), Directory(tmp_path / "b")
    nodes = {node.name: node for node in a.model.graph.node}
    for layer, rows, name in ((0, slice(0, 64), "q_proj"), (1, slice(64, 96), "k_proj")):
        node = nodes[f"layer{layer}/attention.qkv"]
        product = products[f"model.layers.{layer}.self_attn.{name}"]
        difference = (b.dense(b_node(b, node.name)) - a.dense(node))[rows]
        # int8 of the sum on one side, float32 on the other
        np.testing.assert_allclose(difference, 2.0 * product, atol=0.05)
    untouched = b_node(b, "layer0/mlp.down")
    assert b.attributes[untouched.name]["format"] == b"int4"
    assert np.array_equal(b.dense(untouched), a.dense(nodes["layer0/mlp.down"]))


def b_node(directory: Directory, name: str) -> Any:
    return next(node for node in directory.model.graph.node if node.name == name)


def test_the_manifest_names_the_adapter(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "base", "llama")
    write_adapter(tmp_path / "lora", SHAPES)
    manifest = export_model(folder, tmp_path / "a", adapter=tmp_path / "lora")
    adapter = manifest.origin.adapter
    assert adapter is not None
    assert (adapter.source, adapter.revision) == ("lora", "not stated")
    data = (tmp_path / "lora" / "adapter_model.safetensors").read_bytes()
    assert adapter.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "config",
    [
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"bias": "lora_only"},
        {"fan_in_fan_out": True},
        {"rank_pattern": {"q_proj": 8}},
        {"alpha_pattern": {"q_proj": 8}},
        {"lora_bias": True},
        {"target_parameters": ["x"]},
        {"layer_replication": [[0, 2]]},
    ],
)
def test_variants_are_refused_by_name(tmp_path: Path, config: dict[str, Any]) -> None:
    write_adapter(tmp_path, SHAPES, **config)
    with pytest.raises(ExportError, match=f"{next(iter(config))}: expected a plain LoRA"):
        read_adapter(tmp_path)


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path, SHAPES, peft_type="IA3")
    with pytest.raises(ExportError, match="peft_type: expected LORA, got 'IA3'"):
        read_adapter(tmp_path)


@pytest.mark.parametrize(("key", "value"), [("r", 0), ("r", None), ("lora_alpha", "x")])
def test_wrong_numbers(tmp_path: Path, key: str, value: Any) -> None:
    write_adapter(tmp_path, SHAPES, **{key: value})
    with pytest.raises(ModelFormatError, match="r and lora_alpha"):
        read_adapter(tmp_path)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"model.layers.7.self_attn.q_proj": (60, 72)}, "lacks"),
        ({"model.layers.0.self_attn.z_proj": (60, 72)}, "expected one of .*q_proj"),
        ({"model.layers.0.self_attn.q_proj": (60, 71)}, "expected 60 x 72, got 60 x 71"),
        ({"lm_head": (416, 72)}, "one that is tied"),
    ],
)
def test_adapters_of_other_models(tmp_path: Path, shapes: Any, message: str) -> None:
    folder = make_checkpoint(tmp_path / "base", "qwen3", tie_word_embeddings=True)
    write_adapter(tmp_path / "lora", shapes)
    with pytest.raises(ExportError, match=message):
        export_model(folder, tmp_path / "a", adapter=tmp_path / "lora")
    assert not (tmp_path / "a").exists()


def test_broken_folders(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"adapter_config\.json"):
        read_adapter(tmp_path)
    write_adapter(tmp_path, SHAPES)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    half = {k: v for k, v in tensors.items() if "lm_head.lora_B" not in k}
    save_file(half, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ModelFormatError, match=r"pairs.*lm_head"):
        read_adapter(tmp_path)
    odd = {"base_model.model.model.embed_tokens.lora_embedding_A": np.zeros((3, 4), np.float32)}
    save_file(odd, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ExportError, match="lora_embedding_A"):
        read_adapter(tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(ExportError, match=r"got adapter_model.bin.*safe_serialization"):
        read_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps([1]))
    with pytest.raises(ExportError, match="peft_type"):
        read_adapter(tmp_path)
