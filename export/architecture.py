"""Architectures as tables: which tensors exist, how they are called, which operation each feeds.

A layer is a list of operations over two registers: the residual stream, and the value that a norm
takes from it and that the following operations hand on. `Norm` reads the stream; a `Linear` with
epilogue "residual" adds to the stream and so ends a branch. A hybrid architecture has several kinds
of layers; `Shape.kinds` says which layer is which.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Epilogue = Literal["none", "residual", "swiglu"]


@dataclass(frozen=True)
class Projection:
    """One matrix of the checkpoint; `rows` and `columns` are names of dimensions of `Shape`."""

    hf: str
    gguf: str
    rows: str
    columns: str
    bias: str = ""  # the attribute of Shape that says whether a bias exists; "" never
    rotary: bool = False  # its rows are rotated, so some GGUF converters permute them
    # Its rows (the last of them) or columns are value heads, which GGUF files deal round.
    value_heads: Literal["", "rows", "columns"] = ""
    # The stored matrix alternates heads of two projections: this is its "first" or "second".
    half: Literal["", "first", "second"] = ""


@dataclass(frozen=True)
class Norm:
    """An RMS norm of the residual stream."""

    name: str
    hf: str
    gguf: str


@dataclass(frozen=True)
class Linear:
    """Projections fused into one matrix: stacked, or paired panel by panel for swiglu."""

    name: str
    parts: tuple[Projection, ...]
    epilogue: Epilogue = "none"
    exact: bool = False  # float32 in every export: small, and sensitive
    aside: bool = False  # its result waits for a DeltaNet; the branch goes on with what it read


@dataclass(frozen=True)
class Attention:
    """Attention over the packed q, k, v rows; norms of q and k heads exist when Shape.qk_norm."""

    name: str
    q_norm: tuple[str, str] = ("self_attn.q_norm", "attn_q_norm")
    k_norm: tuple[str, str] = ("self_attn.k_norm", "attn_k_norm")


@dataclass(frozen=True)
class Vector:
    """A small tensor that stays float32: its name in the graph, and its full names in a layer."""

    name: str
    hf: str
    gguf: str
    dimensions: tuple[str | Literal[1], ...]  # of a folder; GGUF and the graph leave out those of 1
    value_heads: bool = False  # its last entries are value heads, which GGUF files deal round
    minus_exp: bool = False  # GGUF files hold minus its exponential


@dataclass(frozen=True)
class DeltaNet:
    """The gated delta rule over packed q, k, v and z rows, and over the b and a set aside."""

    name: str
    vectors: tuple[Vector, ...]


Operation = Norm | Linear | Attention | DeltaNet


@dataclass(frozen=True)
class Architecture:
    """One family of checkpoints.

    `qkv_bias` and `output_bias`: always, never, or None where the config's attention_bias decides.
    """

    name: str
    model_type: str  # of config.json
    gguf: str  # general.architecture
    gguf_permuted: bool  # rows of q and k are stored in llama.cpp's order of rotary pairs
    qkv_bias: bool | None
    output_bias: bool | None
    qk_norm: bool
    default_head_dim: int | None = None  # None: hidden / heads
    layers: dict[str, tuple[Operation, ...]] = field(default_factory=dict)
    # Norms of the stream and of heads scale by offset + weight; GGUF files hold that sum.
    norm_offset: float = 0.0
    output_gate: bool = False  # heads of attention are scaled by sigmoid of as many gate columns


_ATTENTION_NORM = Norm("attention.norm", "input_layernorm", "attn_norm")
_ATTENTION_OUT = Linear(
    "attention.out",
    (Projection("self_attn.o_proj", "attn_output", "hidden", "query", "output_bias"),),
    "residual",
)
_MLP: tuple[Operation, ...] = (
    Linear(
        "mlp.gate_up",
        (
            Projection("mlp.gate_proj", "ffn_gate", "mlp", "hidden"),
            Projection("mlp.up_proj", "ffn_up", "mlp", "hidden"),
        ),
        "swiglu",
    ),
    Linear("mlp.down", (Projection("mlp.down_proj", "ffn_down", "hidden", "mlp"),), "residual"),
)
_MLP_NORM = Norm("mlp.norm", "post_attention_layernorm", "ffn_norm")
_HYBRID_MLP_NORM = Norm("mlp.norm", "post_attention_layernorm", "post_attention_norm")

_DENSE: tuple[Operation, ...] = (
    _ATTENTION_NORM,
    Linear(
        "attention.qkv",
        (
            Projection("self_attn.q_proj", "attn_q", "query", "hidden", "qkv_bias", rotary=True),
            Projection("self_attn.k_proj", "attn_k", "key", "hidden", "qkv_bias", rotary=True),
            Projection("self_attn.v_proj", "attn_v", "key", "hidden", "qkv_bias"),
        ),
    ),
    Attention("attention"),
    _ATTENTION_OUT,
    _MLP_NORM,
    *_MLP,
)

_GATED: tuple[Operation, ...] = (
    _ATTENTION_NORM,
    Linear(
        "attention.qkv",
        (
            Projection("self_attn.q_proj", "attn_q", "query", "hidden", "qkv_bias", half="first"),
            Projection("self_attn.k_proj", "attn_k", "key", "hidden", "qkv_bias"),
            Projection("self_attn.v_proj", "attn_v", "key", "hidden", "qkv_bias"),
            Projection("self_attn.q_proj", "attn_q", "query", "hidden", "qkv_bias", half="second"),
        ),
    ),
    Attention("attention"),
    _ATTENTION_OUT,
    _HYBRID_MLP_NORM,
    *_MLP,
)


def _value_rows(hf: str, gguf: str, rows: str) -> Projection:
    return Projection(hf, gguf, rows, "hidden", value_heads="rows")


_DELTA: tuple[Operation, ...] = (
    Norm("delta.norm", "input_layernorm", "attn_norm"),
    Linear(
        "delta.gates",
        (
            _value_rows("linear_attn.in_proj_b", "ssm_beta", "v_heads"),
            _value_rows("linear_attn.in_proj_a", "ssm_alpha", "v_heads"),
        ),
        exact=True,
        aside=True,
    ),
    Linear(
        "delta.in",
        (
            _value_rows("linear_attn.in_proj_qkv", "attn_qkv", "channels"),
            _value_rows("linear_attn.in_proj_z", "attn_gate", "values"),
        ),
    ),
    DeltaNet(
        "delta",
        (
            Vector(
                "conv.weight",
                "linear_attn.conv1d.weight",
                "ssm_conv1d.weight",
                ("channels", 1, "conv_width"),
                value_heads=True,
            ),
            Vector(
                "a_log",
                "linear_attn.A_log",
                "ssm_a",
                ("v_heads",),
                value_heads=True,
                minus_exp=True,
            ),
            Vector("dt_bias", "linear_attn.dt_bias", "ssm_dt.bias", ("v_heads",), value_heads=True),
            Vector("head_norm.weight", "linear_attn.norm.weight", "ssm_norm.weight", ("v_dim",)),
        ),
    ),
    Linear(
        "delta.out",
        (Projection("linear_attn.out_proj", "ssm_out", "hidden", "values", value_heads="columns"),),
        "residual",
    ),
    _HYBRID_MLP_NORM,
    *_MLP,
)

ARCHITECTURES = (
    Architecture("llama", "llama", "llama", True, None, None, False, None, {"attention": _DENSE}),
    Architecture("qwen2", "qwen2", "qwen2", False, True, False, False, None, {"attention": _DENSE}),
    Architecture("qwen3", "qwen3", "qwen3", False, None, None, True, 128, {"attention": _DENSE}),
    Architecture(
        "qwen3_5",
        "qwen3_5_text",
        "qwen35",
        False,
        None,
        None,
        True,
        256,
        {"delta": _DELTA, "attention": _GATED},
        norm_offset=1.0,
        output_gate=True,
    ),
)
