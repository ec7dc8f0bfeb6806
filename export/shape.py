"""The numbers of one model, read from config.json or from the metadata of a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stepguard.errors import ExportError, ModelFormatError
from stepguard.manifest import DeltaLayers

from .architecture import ARCHITECTURES, Architecture, Operation
from .fields import Fields
from .hybrid import (
    delta_sizes,
    gguf_delta_sizes,
    gguf_layer_kinds,
    gguf_rotary_dim,
    layer_kinds,
    rotary_dim,
)
from .rope import check_scaling

MAX_HEAD_DIM, MAX_CONV_WIDTH = 256, 8  # of kernels.h
_DELTA_DIMS = ("k_dim", "v_dim")


@dataclass(frozen=True)
class Shape:
    """Sizes and switches of one model; the properties are the dimensions that tables refer to."""

    architecture: Architecture
    layers: int
    hidden: int
    mlp: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    tied: bool
    epsilon: float
    rope_theta: float
    rope_scaling: Mapping[str, Any] | None
    qkv_bias: bool
    output_bias: bool
    rotary_dim: int  # how many dimensions of a head are rotated
    kinds: tuple[str, ...]  # of every layer, a key of architecture.layers
    delta: DeltaLayers | None = None  # None without delta layers

    @property
    def query(self) -> int:
        """Columns of all query heads together."""
        return self.heads * self.head_dim

    @property
    def key(self) -> int:
        """Columns of all key heads together, and of all value heads."""
        return self.kv_heads * self.head_dim

    def operations(self, layer: int) -> tuple[Operation, ...]:
        """What a layer does."""
        return self.architecture.layers[self.kinds[layer]]

    def dimension(self, name: str | int) -> int:
        """The size of a named dimension of an architecture table; a number is its own."""
        if isinstance(name, int):
            return name
        return int(getattr(self if hasattr(self, name) else self.delta, name))

    def to_manifest(self) -> dict[str, Any]:
        """The `architecture` object of the manifest."""
        names = "layers hidden mlp heads kv_heads head_dim rotary_dim rope_theta vocabulary context"
        sizes = {name: getattr(self, name) for name in [*names.split(), "tied", "epsilon"]}
        return sizes | {
            "name": self.architecture.name,
            "rope_scaling": dict(self.rope_scaling) if self.rope_scaling else None,
            "attention_bias": self.qkv_bias,
            "qk_norm": self.architecture.qk_norm,
            "delta": asdict(self.delta) if self.delta else None,
        }


def shape_of_config(config: Mapping[str, Any], has_head: bool) -> Shape:
    """Reads config.json; `has_head` says whether the checkpoint stores lm_head."""
    fields = Fields("config.json", config)
    architecture = _find("model_type", config.get("model_type"), "model_type")
    hybrid = "delta" in architecture.layers
    _refuse_variants(config)
    (_refuse_ungated if hybrid else _refuse_partial)(config)
    hidden, heads = fields.whole("hidden_size"), fields.whole("num_attention_heads")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise ModelFormatError("config.json: rope", expected="an object", got=repr(rope))
    theta = Fields("config.json: rope", rope | {"rope_theta": rope.get("rope_theta")})
    bias = fields.switch("attention_bias", False)
    context = fields.whole("max_position_embeddings")
    layers = fields.layers("num_hidden_layers")
    head_dim = fields.whole("head_dim", architecture.default_head_dim or hidden // heads)
    kinds = layer_kinds(config, layers) if hybrid else ("attention",) * layers
    rotary = head_dim
    if hybrid:
        rotary = rotary_dim(config, rope, head_dim)
        rope = {key: value for key, value in rope.items() if key != "partial_rotary_factor"}
    return _checked(
        Shape(
            architecture,
            layers=layers,
            hidden=hidden,
            mlp=fields.whole("intermediate_size"),
            heads=heads,
            kv_heads=fields.whole("num_key_value_heads", heads),
            head_dim=head_dim,
            vocabulary=fields.whole("vocab_size"),
            context=context,
            tied=fields.switch("tie_word_embeddings", not has_head),
            epsilon=fields.real("rms_norm_eps"),
            rope_theta=theta.real("rope_theta", fields.real("rope_theta", 10000.0)),
            rope_scaling=check_scaling("config.json", rope, context),
            qkv_bias=_decided(architecture.qkv_bias, bias),
            output_bias=_decided(architecture.output_bias, bias),
            rotary_dim=rotary,
            kinds=kinds,
            delta=delta_sizes(config, kinds),
        )
    )


def shape_of_gguf(metadata: Mapping[str, Any], names: frozenset[str], vocabulary: int) -> Shape:
    """Reads GGUF metadata; `names` are the file's tensors, `vocabulary` the rows of its table."""
    architecture = _find("general.architecture", metadata.get("general.architecture"), "gguf")
    prefix = architecture.gguf + "."
    values = {
        key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)
    }
    _refuse_gguf_variants(architecture, values)
    fields = Fields("GGUF metadata", values)
    hidden, heads = fields.whole("embedding_length"), fields.whole("attention.head_count")
    head_dim = fields.whole("attention.key_length", hidden // heads)
    _check_head_dim(fields, "attention.value_length", head_dim)
    scaling = {
        "rope_type": values.get("rope.scaling.type", "none"),
        "factor": values.get("rope.scaling.factor"),
    }
    context = fields.whole("context_length")
    layers = fields.layers("block_count")
    kinds, rotary, delta = ("attention",) * layers, head_dim, None
    if "delta" in architecture.layers:
        kinds, rotary = gguf_layer_kinds(fields, layers), gguf_rotary_dim(fields, head_dim)
        delta = gguf_delta_sizes(fields, kinds)
    else:
        _check_head_dim(fields, "rope.dimension_count", head_dim)
    attends = f"blk.{kinds.index('attention') if 'attention' in kinds else 0}"
    return _checked(
        Shape(
            architecture,
            layers=layers,
            hidden=hidden,
            mlp=fields.whole("feed_forward_length"),
            heads=heads,
            kv_heads=fields.whole("attention.head_count_kv", heads),
            head_dim=head_dim,
            vocabulary=vocabulary,
            context=context,
            tied="output.weight" not in names,
            # Stored as float32: the shortest decimal that rounds to it is what was meant.
            epsilon=_shortest(fields.real("attention.layer_norm_rms_epsilon")),
            rope_theta=_shortest(fields.real("rope.freq_base", 10000.0)),
            rope_scaling=check_scaling("GGUF metadata", scaling, context),
            qkv_bias=_decided(architecture.qkv_bias, f"{attends}.attn_q.bias" in names),
            output_bias=_decided(architecture.output_bias, f"{attends}.attn_output.bias" in names),
            rotary_dim=rotary,
            kinds=kinds,
            delta=delta,
        )
    )


def _check_head_dim(fields: Fields, key: str, head_dim: int) -> None:
    got = fields.whole(key, head_dim)
    if got != head_dim:
        raise ExportError(f"{fields.where}: {key}", expected=str(head_dim), got=str(got))


def _decided(always: bool | None, otherwise: bool) -> bool:
    return otherwise if always is None else always


def _shortest(value: float) -> float:
    return float(str(np.float32(value)))


def _find(where: str, name: object, attribute: str) -> Architecture:
    known = {str(getattr(a, attribute)): a for a in ARCHITECTURES if getattr(a, attribute)}
    if isinstance(name, str) and name in known:
        return known[name]
    raise ExportError(
        where,
        expected=f"one of {', '.join(known)}",
        got=repr(name),
        fix="This architecture is not supported",
    )


def _refuse(where: str, expected: str, got: object) -> None:
    raise ExportError(where, expected=expected, got=repr(got), fix="This variant is not supported")


def _refuse_variants(config: Mapping[str, Any]) -> None:
    kinds = config.get("architectures") or []
    if not all(str(kind).endswith("ForCausalLM") for kind in kinds):
        _refuse("config.json: architectures", "a model for causal language modelling", kinds)
    if config.get("hidden_act", "silu") not in ("silu", "swish"):
        _refuse("config.json: hidden_act", "silu", config["hidden_act"])
    for key in ("mlp_bias", "quantization_config"):
        if config.get(key):
            _refuse(f"config.json: {key}", "none", config[key])


def _refuse_ungated(config: Mapping[str, Any]) -> None:
    if not config.get("attn_output_gate", True):
        _refuse("config.json: attn_output_gate", "true", config["attn_output_gate"])


def _refuse_partial(config: Mapping[str, Any]) -> None:
    """Layers of other kinds, windows and partial rotation, where the architecture has none."""
    if config.get("partial_rotary_factor", 1.0) != 1.0:
        _refuse("config.json: partial_rotary_factor", "1", config["partial_rotary_factor"])
    layers, first = config.get("num_hidden_layers", 0), config.get("max_window_layers", 28)
    types = config.get("layer_types")
    sliding = bool(config.get("use_sliding_window")) and config.get("sliding_window") is not None
    # Qwen configs switch the window on and then exempt every layer from it, which is no window.
    if sliding and types is None and isinstance(first, int) and first < layers:
        _refuse("config.json: sliding_window", "full attention", config["sliding_window"])
    if types is not None and set(types) != {"full_attention"}:
        _refuse("config.json: layer_types", "full_attention everywhere", sorted(set(types)))


def _refuse_gguf_variants(architecture: Architecture, values: Mapping[str, Any]) -> None:
    for key in ("attention.sliding_window", "expert_count", "attention.scale"):
        if values.get(key):
            _refuse(f"GGUF metadata: {architecture.gguf}.{key}", "none", values[key])


def _checked(shape: Shape) -> Shape:
    if shape.heads % shape.kv_heads:
        raise ModelFormatError(
            "attention heads", expected=f"a multiple of {shape.kv_heads}", got=str(shape.heads)
        )
    if shape.head_dim % 2:
        raise ModelFormatError("head_dim", expected="an even number", got=str(shape.head_dim))
    _check_kernels(shape)
    return shape


def _check_kernels(shape: Shape) -> None:
    """Refuses at export what the operations would refuse when the model is loaded."""
    limits = [("head_dim", shape.head_dim, 1, MAX_HEAD_DIM)]
    if shape.delta is not None:
        limits += [(name, getattr(shape.delta, name), 1, MAX_HEAD_DIM) for name in _DELTA_DIMS]
        limits.append(("conv_width", shape.delta.conv_width, 2, MAX_CONV_WIDTH))
    for name, size, least, most in limits:
        if not least <= size <= most:
            raise ExportError(
                name,
                expected=f"{least} to {most}, which the operations can read",
                got=str(size),
                fix="This variant is not supported",
            )
