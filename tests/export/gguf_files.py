"""GGUF files written from a Hugging Face checkpoint, the way llama.cpp's converter does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Kind
from safetensors.numpy import load_file

Array = npt.NDArray[Any]
_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    """The name that llama.cpp gives a tensor of a checkpoint."""
    stem, _, suffix = name.rpartition(".")
    if not stem.startswith("model.layers."):
        return f"{_NAMES[stem]}.{suffix}"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{_NAMES[rest]}.{suffix}"


def permute(rows: Array, heads: int) -> Array:
    """llama.cpp's order: the two halves of each head interleaved."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def write_gguf(
    path: Path,
    folder: Path,
    kind_of: Callable[[str], Kind] = lambda name: Kind.F32,
    extra: Mapping[str, Array] | None = None,
    pre: str = "llama-bpe",
) -> Path:
    """Writes the checkpoint in `folder` as one GGUF file.

    `kind_of` chooses the type of each matrix by its GGUF name; `extra` are further float tensors.
    """
    config = json.loads((folder / "config.json").read_text())
    arch, heads = config["model_type"], config["num_attention_heads"]
    writer = gguf.GGUFWriter(path, arch)
    _metadata(writer, config)
    write_tokenizer(writer, folder, pre)
    for name, value in sorted(load_file(folder / "model.safetensors").items()):
        if arch == "llama" and ("q_proj" in name or "k_proj" in name):
            value = permute(value, heads if "q_proj" in name else config["num_key_value_heads"])
        kind = kind_of(gguf_name(name)) if value.ndim == 2 else Kind.F32
        add_tensor(writer, gguf_name(name), value, kind)
    for name, value in (extra or {}).items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_tensor(writer: gguf.GGUFWriter, name: str, value: Array, kind: Kind) -> None:
    """Adds a tensor in that type; K-quants, which the package cannot make, get random blocks."""
    if kind in (Kind.Q4_K, Kind.Q6_K):
        data = random_blocks(value.shape, kind, seed=len(name))
    else:
        data = gguf.quants.quantize(value.astype(np.float32), kind)
    writer.add_tensor(name, data, raw_dtype=kind)


def random_blocks(shape: tuple[int, ...], kind: Kind, seed: int) -> Array:
    """uint8 rows of random but finite K-quant blocks of weights around 0.05."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    generator = np.random.default_rng(seed)
    rows = generator.integers(0, 256, (shape[0], shape[1] // block, size), dtype=np.uint8)
    if kind == Kind.Q4_K:  # scale and minimum stand first
        rows[..., :4] = np.array([0.0006, 0.004], np.float16).view(np.uint8)
    else:  # Q6_K: the scale stands last
        rows[..., -2:] = np.array([0.0004], np.float16).view(np.uint8)
    return rows.reshape(shape[0], -1)


def _metadata(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta", 10000.0)}
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    writer.add_vocab_size(config["vocab_size"])


def write_tokenizer(writer: gguf.GGUFWriter, folder: Path, pre: str) -> None:
    """Adds the tokenizer and the chat template of a checkpoint; `pre` names its pre-tokenizer."""
    data = json.loads((folder / "tokenizer.json").read_text())
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    texts = {number: text for text, number in data["model"]["vocab"].items()}
    added = {token["id"]: token["content"] for token in data["added_tokens"]}
    tokens = [added.get(i) or texts.get(i) or f"[PAD{i}]" for i in range(rows)]
    kinds = [3 if i in added else 1 if i in texts else 5 for i in range(rows)]
    merges = [
        merge if isinstance(merge, str) else " ".join(merge) for merge in data["model"]["merges"]
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    template = json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
    writer.add_chat_template(template)
