"""What a hybrid adds to a configuration: layer kinds, sizes of delta layers, partial rotation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepguard.errors import ModelFormatError
from stepguard.manifest import DeltaLayers

from .fields import Fields

_KINDS = {"linear_attention": "delta", "full_attention": "attention"}
_INTERVAL = 4  # every fourth layer attends, where the configuration does not say which
_PARTIAL_ROTARY = 0.25


def layer_kinds(config: Mapping[str, Any], layers: int) -> tuple[str, ...]:
    """For each layer "delta" or "attention"; ModelFormatError for a list that does not fit."""
    types = config.get("layer_types")
    if types is None:
        every = Fields("config.json", config).whole("full_attention_interval", _INTERVAL)
        return tuple("delta" if (i + 1) % every else "attention" for i in range(layers))
    if not isinstance(types, list) or len(types) != layers or not set(types) <= _KINDS.keys():
        raise ModelFormatError(
            "config.json: layer_types",
            expected=f"a list of {layers} out of {', '.join(_KINDS)}",
            got=repr(types),
        )
    return tuple(_KINDS[kind] for kind in types)


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
