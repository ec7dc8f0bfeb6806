"""What a hybrid adds to a configuration: layer kinds, sizes of delta layers, partial rotation.

The functions with `gguf` in their name read the metadata of a GGUF file, the others config.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepguard.errors import ModelFormatError
from stepguard.manifest import DeltaLayers

from .fields import Fields

_KINDS = {"linear_attention": "delta", "full_attention": "attention"}
_INTERVAL = 4  # every fourth layer attends, where the configuration does not say which
_PARTIAL_ROTARY = 0.25
GGUF_RECURRENT = "attention.recurrent_layers"


def layer_kinds(config: Mapping[str, Any], layers: int) -> tuple[str, ...]:
    """For each layer "delta" or "attention"; ModelFormatError for a list that does not fit."""
    types = config.get("layer_types")
    if types is None:
        return _every(Fields("config.json", config), layers)
    if not isinstance(types, list) or len(types) != layers or not set(types) <= _KINDS.keys():
        raise ModelFormatError(
            "config.json: layer_types",
            expected=f"a list of {layers} out of {', '.join(_KINDS)}",
            got=repr(types),
        )
    return tuple(_KINDS[kind] for kind in types)


def gguf_layer_kinds(fields: Fields, layers: int) -> tuple[str, ...]:
    """The same from the list of recurrent layers; older files say only how often one attends."""
    recurrent = fields.values.get(GGUF_RECURRENT)
    if recurrent is None:
        return _every(fields, layers)
    if (
        not isinstance(recurrent, list)
        or len(recurrent) != layers
        or not all(isinstance(value, bool) for value in recurrent)
    ):
        raise fields.bad(GGUF_RECURRENT, f"a list of {layers} truth values")
    return tuple("delta" if value else "attention" for value in recurrent)


def _every(fields: Fields, layers: int) -> tuple[str, ...]:
    every = fields.whole("full_attention_interval", _INTERVAL)
    return tuple("delta" if (i + 1) % every else "attention" for i in range(layers))


def delta_sizes(config: Mapping[str, Any], kinds: tuple[str, ...]) -> DeltaLayers | None:
    """The sizes of the delta layers; None where there are none."""
    if "delta" not in kinds:
        return None
    fields = Fields("config.json", config)
    sizes = DeltaLayers(
        kinds.count("delta"),
        fields.whole("linear_num_key_heads"),
        fields.whole("linear_num_value_heads"),
        fields.whole("linear_key_head_dim"),
        fields.whole("linear_value_head_dim"),
        fields.whole("linear_conv_kernel_dim"),
    )
    if sizes.v_heads % sizes.k_heads:
        raise fields.bad("linear_num_value_heads", f"a multiple of {sizes.k_heads}")
    return sizes


def gguf_delta_sizes(fields: Fields, kinds: tuple[str, ...]) -> DeltaLayers | None:
    """The same from the keys that GGUF files have for state space models."""
    if "delta" not in kinds:
        return None
    if fields.values.get("ssm.v_head_reordered") is False:
        raise fields.bad("ssm.v_head_reordered", "value heads in llama.cpp's order")
    k_heads, v_heads = fields.whole("ssm.group_count"), fields.whole("ssm.time_step_rank")
    values = fields.whole("ssm.inner_size")
    if v_heads % k_heads:
        raise fields.bad("ssm.time_step_rank", f"a multiple of {k_heads}")
    if values % v_heads:
        raise fields.bad("ssm.inner_size", f"a multiple of {v_heads}")
    return DeltaLayers(
        kinds.count("delta"),
        k_heads,
        v_heads,
        fields.whole("ssm.state_size"),
        values // v_heads,
        fields.whole("ssm.conv_kernel"),
    )


def rotary_dim(config: Mapping[str, Any], rope: Mapping[str, Any], head_dim: int) -> int:
    """How many dimensions of a head are rotated."""
    default = Fields("config.json", config).real("partial_rotary_factor", _PARTIAL_ROTARY)
    factor = Fields("config.json: rope", rope).real("partial_rotary_factor", default)
    dim = int(head_dim * factor)
    if factor > 1 or dim < 2 or dim % 2:
        raise ModelFormatError(
            "config.json: partial_rotary_factor",
            expected=f"an even part of head_dim {head_dim}",
            got=repr(factor),
        )
    return dim


def gguf_rotary_dim(fields: Fields, head_dim: int) -> int:
    """The same. The sections belong to pictures: all of them are the same for text."""
    dim = fields.whole("rope.dimension_count")
    if dim > head_dim or dim % 2:
        raise fields.bad("rope.dimension_count", f"an even part of key_length {head_dim}")
    return dim
