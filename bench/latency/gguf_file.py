"""A GGUF file of a shape, as llama.cpp's converter would write it, without a vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stepguard.bench.shapes.guards import GuardShape
from stepguard.bench.shapes.weights import RandomStore
from stepguard.export._need import need
from stepguard.export.rope import inverse_frequencies
from stepguard.export.shape import Shape
from stepguard.export.tensors import BLOCKS
from stepguard.export.value_heads import ValueHeads

Array = npt.NDArray[Any]
_Q4_0_FILE = 2


def write_gguf(
    shape: GuardShape,
    store: RandomStore,
    path: Path,
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Writes the tensors of `store`, Q4_0 as they are, all others as F32."""
    gguf = need("gguf")
    numbers = shape.shape
    writer = gguf.GGUFWriter(path, numbers.architecture.gguf)
    _metadata(writer, shape)
    names = gguf.get_tensor_name_map(_architecture(gguf, numbers), numbers.layers)
    kinds = gguf.GGMLQuantizationType
    for done, (name, info) in enumerate(store.tensors.items(), start=1):
        stored = names.get_name(
            name.replace(".dt_bias", ".dt_proj.bias"), try_suffixes=(".weight", ".bias")
        )
        quantised = info.kind == "Q4_0"
        value = store.raw(name, 0, info.shape[0]) if quantised else _plain(store, name, numbers)
        value = _ordered(numbers, name, value, info.kind)
        writer.add_tensor(stored, value, raw_dtype=kinds.Q4_0 if quantised else kinds.F32)
        if progress is not None:
            progress(name, done, len(store.tensors))
    if numbers.rope_scaling is not None:
        writer.add_tensor("rope_freqs.weight", _rope_factors(numbers))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _architecture(gguf: Any, shape: Shape) -> Any:
    return next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == shape.architecture.gguf)


def _plain(store: RandomStore, name: str, shape: Shape) -> Array:
    """A small tensor as the file holds it, float32."""
    value: Array = store.whole(name).astype(np.float32)
    if name.endswith("A_log"):
        return -np.exp(value)
    if "conv1d" in name:
        return value.squeeze(1)
    if name.endswith("norm.weight") and "linear_attn" not in name:
        return value + np.float32(shape.architecture.norm_offset)
    return value


def _rope_factors(shape: Shape) -> Array:
    """By what each frequency is divided: float32 [rotary_dim / 2]."""
    plain = inverse_frequencies(shape.rope_theta, shape.rotary_dim, None, None)
    return plain / inverse_frequencies(shape.rope_theta, shape.rotary_dim, shape.rope_scaling, None)


def _ordered(shape: Shape, name: str, value: Array, kind: str) -> Array:
    """Rows of q and k, and value heads of delta layers, in llama.cpp's order."""
    if shape.architecture.gguf_permuted and name.endswith(("q_proj.weight", "k_proj.weight")):
        halves = value.reshape(-1, 2, shape.head_dim // 2, *value.shape[1:])
        return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(value.shape))
    heads = _value_heads(shape, name, value, kind)
    if heads is None:
        return value
    axis, order = heads
    parts = value.reshape(len(value), -1, BLOCKS[kind][1]) if axis == 1 else value
    dealt = np.empty_like(parts)
    dealt[(slice(None), order) if axis == 1 else order] = parts
    return dealt.reshape(value.shape)


def _value_heads(
    shape: Shape, name: str, value: Array, kind: str
) -> tuple[int, npt.NDArray[np.int64]] | None:
    """Axis, and where each row (or block of columns) goes."""
    delta = shape.delta
    if delta is None or "linear_attn" not in name or name.endswith("linear_attn.norm.weight"):
        return None
    size, start, axis, places = delta.v_dim, 0, 0, len(value)
    if name.endswith(("in_proj_qkv.weight", "conv1d.weight")):
        start = 2 * delta.k_heads * delta.k_dim
    elif name.endswith("out_proj.weight"):
        axis, block = 1, BLOCKS[kind][0]
        size, places = delta.v_dim // block, delta.v_heads * delta.v_dim // block
    elif not name.endswith("in_proj_z.weight"):
        size = 1
    return axis, ValueHeads(delta.k_heads, delta.v_heads, size, start).stored(0, places)


def _numbers(shape: GuardShape) -> Iterator[tuple[str, int]]:
    text, numbers = shape.text, shape.shape
    yield "context_length", text["max_position_embeddings"]
    yield "embedding_length", numbers.hidden
    yield "block_count", numbers.layers
    yield "feed_forward_length", numbers.mlp
    yield "attention.head_count", numbers.heads
    yield "attention.head_count_kv", numbers.kv_heads
    yield "attention.key_length", numbers.head_dim
    yield "attention.value_length", numbers.head_dim
    yield "rope.dimension_count", numbers.rotary_dim
    if numbers.delta is not None:
        delta = numbers.delta
        yield "ssm.conv_kernel", delta.conv_width
        yield "ssm.state_size", delta.k_dim
        yield "ssm.group_count", delta.k_heads
        yield "ssm.time_step_rank", delta.v_heads
        yield "ssm.inner_size", delta.v_heads * delta.v_dim
        yield "full_attention_interval", text["full_attention_interval"]


def _metadata(writer: Any, shape: GuardShape) -> None:
    arch = shape.shape.architecture.gguf
    for key, number in _numbers(shape):
        writer.add_uint32(f"{arch}.{key}", number)
    writer.add_layer_norm_rms_eps(shape.text["rms_norm_eps"])
    writer.add_rope_freq_base(shape.shape.rope_theta)
    if shape.shape.delta is not None:
        writer.add_rope_dimension_sections([11, 11, 10, 0])
    writer.add_vocab_size(shape.shape.vocabulary)
    writer.add_tokenizer_model("none")
    writer.add_file_type(_Q4_0_FILE)
