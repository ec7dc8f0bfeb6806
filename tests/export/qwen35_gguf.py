"""Qwen3.5 checkpoints as GGUF files, converted by the rules of llama.cpp and independent of ours.

The rules are those of its converter (`Qwen3_5TextModel` and what it inherits, `Qwen3NextModel` and
`_LinearAttentionVReorderBase`); names of tensors come from the package gguf.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Kind
from safetensors.numpy import load_file

from tests.export.gguf_files import write_tokenizer

Array = npt.NDArray[Any]
_BLOCK = 32
_DEALT_ROWS = ("in_proj_z.weight", "in_proj_b.weight", "in_proj_a.weight", "A_log", "dt_bias")
_DEALT_ENDS = ("in_proj_qkv.weight", "conv1d.weight")  # behind the rows of query and key


@dataclass(frozen=True)
class Conversion:
    """`as_is` are endings of names that keep the order of the checkpoint: planted faults.

    `prediction` appends a block that predicts further tokens. `listed` names the recurrent layers
    one by one, as newer files may; else the file says how often a layer attends.
    """

    kind: Kind = Kind.F32
    as_is: tuple[str, ...] = ()
    offset_everywhere: bool = False
    prediction: bool = False
    listed: bool = False
    metadata: Mapping[str, int | bool | list[bool] | None] | None = None


def value_order(k_heads: int, v_heads: int, size: int) -> list[int]:
    """Places of the checkpoint in the order of the file: first value heads, then second ones."""
    share = v_heads // k_heads
    heads = [key * share + turn for turn in range(share) for key in range(k_heads)]
    return [head * size + i for head in heads for i in range(size)]


def deal(name: str, value: Array, config: Mapping[str, Any], back: bool = False) -> Array:
    """A tensor with its value heads in the order of the file; `back` in that of the checkpoint."""
    k_heads, v_heads = config["linear_num_key_heads"], config["linear_num_value_heads"]
    size, start, axis = config["linear_value_head_dim"], 0, 0
    if name.endswith(_DEALT_ENDS):
        start = 2 * k_heads * config["linear_key_head_dim"]
    elif name.endswith("linear_attn.out_proj.weight"):
        axis = 1
    elif not name.endswith(_DEALT_ROWS):
        return value
    elif not name.endswith("in_proj_z.weight"):
        size = 1
    order = np.array([*range(start), *(start + i for i in value_order(k_heads, v_heads, size))])
    return value.take(np.argsort(order) if back else order, axis=axis)


def converted(name: str, value: Array, config: Mapping[str, Any], how: Conversion) -> Array:
    """What the file holds of a tensor, before it is quantised."""
    if not name.endswith(how.as_is or ("\0",)):
        value = deal(name, value, config)
    if name.endswith(".A_log"):
        value = -np.exp(value)
    elif "conv1d" in name:
        value = value.squeeze(1)
    elif name.endswith("norm.weight") and (
        how.offset_everywhere or not name.endswith("linear_attn.norm.weight")
    ):
        value = value + np.float32(1)
    return value


def kind_of(name: str, value: Array, kind: Kind) -> Kind:
    """Vectors and convolutions stay F32, and so do rows that are no whole blocks."""
    short = kind in (Kind.Q8_0, Kind.Q4_0) and value.shape[-1] % _BLOCK
    return Kind.F32 if value.ndim == 1 or "conv1d" in name or short else kind


def write_qwen35(path: Path, folder: Path, how: Conversion | None = None) -> Path:
    """Writes the checkpoint in `folder` as one GGUF file."""
    how = how or Conversion()
    config = json.loads((folder / "config.json").read_text())
    layers = config["num_hidden_layers"]
    writer = gguf.GGUFWriter(path, "qwen35")
    _metadata(writer, config, how)
    write_tokenizer(writer, folder, "qwen35")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN35, layers)
    tensors = load_file(folder / "model.safetensors")
    for name, value in sorted(tensors.items()):
        data = converted(name, value, config, how)
        kind = kind_of(name, data, how.kind)
        stored = names.get_name(
            name.replace(".dt_bias", ".dt_proj.bias"), try_suffixes=(".weight", ".bias")
        )
        assert stored is not None, name
        writer.add_tensor(stored, gguf.quants.quantize(data, kind), raw_dtype=kind)
    if how.prediction:
        for part in ("attn_q", "attn_norm", "nextn.eh_proj", "nextn.enorm"):
            writer.add_tensor(f"blk.{layers}.{part}.weight", np.ones((3, 5), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def dequantised(folder: Path, kind: Kind) -> dict[str, Array]:
    """The checkpoint's tensors as a file of that kind rounds them, in the checkpoint's order."""
    config = json.loads((folder / "config.json").read_text())
    tensors: dict[str, Array] = {}
    for name, value in load_file(folder / "model.safetensors").items():
        stored = kind_of(name, value, kind)
        if stored != Kind.F32:
            blocks = gguf.quants.quantize(deal(name, value, config), stored)
            value = deal(name, gguf.quants.dequantize(blocks, stored), config, back=True)
        tensors[name] = value
    return tensors


def _metadata(writer: gguf.GGUFWriter, config: dict[str, Any], how: Conversion) -> None:
    rope, arch = config["rope_parameters"], "qwen35"
    recurrent = [kind == "linear_attention" for kind in config["layer_types"]]
    attends = recurrent.index(False) + 1 if False in recurrent else 1000
    v_heads = config["linear_num_value_heads"]
    numbers: dict[str, int | bool | list[bool] | None] = {
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "block_count": config["num_hidden_layers"] + how.prediction,
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.key_length": config["head_dim"],
        "attention.value_length": config["head_dim"],
        "rope.dimension_count": int(config["head_dim"] * rope["partial_rotary_factor"]),
        "ssm.conv_kernel": config["linear_conv_kernel_dim"],
        "ssm.state_size": config["linear_key_head_dim"],
        "ssm.group_count": config["linear_num_key_heads"],
        "ssm.time_step_rank": v_heads,
        "ssm.inner_size": config["linear_value_head_dim"] * v_heads,
        "full_attention_interval": None if how.listed else attends,
        "attention.recurrent_layers": recurrent + [False] * how.prediction if how.listed else None,
        "nextn_predict_layers": 1 if how.prediction else None,
    }
    for key, value in (numbers | dict(how.metadata or {})).items():
        add: Callable[[str, Any], None] | None = {
            bool: writer.add_bool,
            int: writer.add_uint32,
            list: writer.add_array,
        }.get(type(value))
        if add is not None:
            add(f"{arch}.{key}", value)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_sections([*rope.get("mrope_section", (11, 11, 10)), 0])
    writer.add_vocab_size(config["vocab_size"])
