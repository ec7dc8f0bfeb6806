"""Exported graphs, run by a numpy interpreter, against transformers on random checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from stepguard.export import export_model
from tests.export.gguf_files import Kind, write_gguf
from tests.export.interpret import Directory
from tests.export.tiny import LLAMA3_SCALING, make_checkpoint, reference_logits

LINEAR = {"rope_type": "linear", "rope_theta": 20000.0, "factor": 4.0}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama-biased-scaled-tied": (
        "llama",
        {"attention_bias": True, "rope_parameters": LLAMA3_SCALING, "tie_word_embeddings": True},
    ),
    "llama-linear": ("llama", {"rope_parameters": LINEAR, "num_key_value_heads": 3}),
    "qwen2": ("qwen2", {}),
    "qwen2-tied": ("qwen2", {"tie_word_embeddings": True, "num_hidden_layers": 3}),
    "qwen3": ("qwen3", {}),
    "qwen3-biased-tied": ("qwen3", {"attention_bias": True, "tie_word_embeddings": True}),
    "qwen3-wide-heads": ("qwen3", {"num_attention_heads": 5, "head_dim": 34}),
}
IDS = np.random.default_rng(0).integers(0, 416, 96).tolist()


@pytest.mark.parametrize("name", CASES)
def test_logits_equal_transformers(tmp_path: Path, name: str) -> None:
    arch, overrides = CASES[name]
    folder = make_checkpoint(tmp_path / "c", arch, seed=len(name), **overrides)
    export_model(folder, tmp_path / "o", quant="float32")
    expected = reference_logits(folder, IDS)
    found, hidden = Directory(tmp_path / "o").run(IDS)
    assert np.abs(found - expected).max() < 1e-4
    assert hidden.shape == (96, 72)


@pytest.mark.parametrize("arch", ["llama", "qwen2", "qwen3"])
def test_the_random_checkpoints_are_sharp(tmp_path: Path, arch: str) -> None:
    """Else a model without rope, or with swapped heads, would pass."""
    folder = make_checkpoint(tmp_path, arch, seed=4)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        out = model(torch.tensor([IDS]), output_attentions=True)
    for weights in out.attentions:
        rows = [weights[0, :, t, : t + 1].double().log().std(-1).mean() for t in range(32, 96)]
        assert torch.stack(rows).mean() > 2
    assert out.logits.std() > 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_checkpoints_lose_nothing(tmp_path: Path, dtype: str) -> None:
    folder = make_checkpoint(tmp_path / "c", "qwen2", 3, dtype=dtype, shard="40KB")
    export_model(folder, tmp_path / "o", quant="float32")
    found, _ = Directory(tmp_path / "o").run(IDS)
    assert np.abs(found - reference_logits(folder, IDS)).max() < 1e-4


def test_matrices_are_the_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "c", "llama", 1)
    export_model(folder, tmp_path / "o", quant="float32")
    directory, stored = Directory(tmp_path / "o"), load_file(folder / "model.safetensors")
    groups = {
        "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "attention.out": ("self_attn.o_proj",),
        "mlp.gate_up": ("mlp.gate_proj", "mlp.up_proj"),
        "mlp.down": ("mlp.down_proj",),
    }
    for node in directory.model.graph.node:
        if node.op_type == "Linear":
            layer, _, group = node.name.removeprefix("layer").partition("/")
            names = [f"model.layers.{layer}.{part}.weight" for part in groups[group]]
            expected = np.concatenate([stored[name] for name in names])
            assert np.array_equal(directory.dense(node), expected)
    assert np.array_equal(directory.tensors["embedding.table"], stored["model.embed_tokens.weight"])
    assert np.array_equal(directory.tensors["head.table"], stored["lm_head.weight"])


def test_an_old_config_means_the_same(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "c", "llama", 1, rope_parameters=LLAMA3_SCALING)
    export_model(folder, tmp_path / "new", quant="float32")
    config = json.loads((folder / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope
    (folder / "config.json").write_text(json.dumps(config))
    export_model(folder, tmp_path / "old", quant="float32")
    names = ("model.onnx", "weights.bin", "manifest.json")
    assert all(
        (tmp_path / "new" / n).read_bytes() == (tmp_path / "old" / n).read_bytes() for n in names
    )


@pytest.mark.parametrize("quant", ["float32", "int8", "int4"])
@pytest.mark.parametrize("name", ["llama-biased-scaled-tied", "llama-linear", "qwen2", "qwen3"])
def test_gguf_gives_the_same_bytes(tmp_path: Path, name: str, quant: str) -> None:
    """Un-permuted rows, biases, names and rope factors: the whole of weights.bin is equal."""
    arch, overrides = CASES[name]
    folder = make_checkpoint(tmp_path / "c", arch, seed=1, **overrides)
    extra = {}
    if "scaled" in name:  # what llama.cpp's converter writes instead of the llama3 fields
        extra["rope_freqs.weight"] = llama3_factors(20, LLAMA3_SCALING)
    file = write_gguf(
        tmp_path / "m.gguf", folder, extra=extra, pre="llama-bpe" if arch == "llama" else "qwen2"
    )
    export_model(folder, tmp_path / "a", quant=quant)
    export_model(file, tmp_path / "b", quant=quant)
    a, b = Directory(tmp_path / "a"), Directory(tmp_path / "b")
    assert a.tensors.keys() == b.tensors.keys()
    for key, value in a.tensors.items():
        if key == "rope.inv_freq":  # the factors were rounded to float32 on the way
            np.testing.assert_allclose(b.tensors[key], value, rtol=3e-7)
        else:
            assert np.array_equal(b.tensors[key], value), key
    assert a.attributes == b.attributes


def llama3_factors(dim: int, scaling: dict[str, Any]) -> Any:
    """The divisors of the plain frequencies, by the formula of llama.cpp's converter."""
    factors = []
    low_wave = scaling["original_max_position_embeddings"] / scaling["low_freq_factor"]
    high_wave = scaling["original_max_position_embeddings"] / scaling["high_freq_factor"]
    for pair in range(0, dim, 2):
        wave = 2 * np.pi * scaling["rope_theta"] ** (pair / dim)
        if wave < high_wave:
            factors.append(1.0)
        elif wave > low_wave:
            factors.append(scaling["factor"])
        else:
            low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
            smooth = (scaling["original_max_position_embeddings"] / wave - low) / (high - low)
            factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(factors, np.float32)


@pytest.mark.parametrize(("arch", "kind"), [("llama", Kind.Q8_0), ("qwen2", Kind.F16)])
def test_gguf_equals_transformers_on_the_same_file(tmp_path: Path, arch: str, kind: Kind) -> None:
    pytest.importorskip("accelerate", reason="transformers reads GGUF through accelerate")
    size = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96, "head_dim": 16}
    folder = make_checkpoint(tmp_path / "c", arch, 1, num_key_value_heads=2, **size)
    pre = "llama-bpe" if arch == "llama" else "qwen2"
    file = write_gguf(tmp_path / "m.gguf", folder, lambda _: kind, pre=pre)
    export_model(file, tmp_path / "o", quant="float32")
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="m.gguf", dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        expected = model.eval()(torch.tensor([IDS])).logits[0].numpy()
    found, _ = Directory(tmp_path / "o").run(IDS)
    assert np.abs(found - expected).max() < 1e-4
