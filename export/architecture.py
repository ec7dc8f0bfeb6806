"""Architectures as tables: which tensors exist, how they are called, which operation each feeds.

A layer is a list of operations over two registers: the residual stream, and the value that a norm
takes from it and that the following operations hand on. `Norm` reads the stream; a `Linear` with
epilogue "residual" adds to the stream and so ends a branch. A hybrid architecture has several kinds
of layers and a rule that says which layer is which.
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


@dataclass(frozen=True)
class Attention:
    """Attention over the packed q, k, v rows; norms of q and k heads exist when Shape.qk_norm."""

    name: str
    q_norm: tuple[str, str] = ("self_attn.q_norm", "attn_q_norm")
    k_norm: tuple[str, str] = ("self_attn.k_norm", "attn_k_norm")


Operation = Norm | Linear | Attention


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
    norm_offset: float = 0.0  # norms scale by offset + weight

    def layer_kind(self, layer: int) -> str:
        """Which entry of `layers` describes this layer."""
        del layer  # one kind so far; a hybrid alternates
        return next(iter(self.layers))


_DENSE: tuple[Operation, ...] = (
    Norm("attention.norm", "input_layernorm", "attn_norm"),
    Linear(
        "attention.qkv",
        (
            Projection("self_attn.q_proj", "attn_q", "query", "hidden", "qkv_bias", rotary=True),
            Projection("self_attn.k_proj", "attn_k", "key", "hidden", "qkv_bias", rotary=True),
            Projection("self_attn.v_proj", "attn_v", "key", "hidden", "qkv_bias"),
        ),
    ),
    Attention("attention"),
    Linear(
        "attention.out",
        (Projection("self_attn.o_proj", "attn_output", "hidden", "query", "output_bias"),),
        "residual",
    ),
    Norm("mlp.norm", "post_attention_layernorm", "ffn_norm"),
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

ARCHITECTURES = (
    Architecture("llama", "llama", "llama", True, None, None, False, None, {"attention": _DENSE}),
    Architecture("qwen2", "qwen2", "qwen2", False, True, False, False, None, {"attention": _DENSE}),
    Architecture("qwen3", "qwen3", "qwen3", False, None, None, True, 128, {"attention": _DENSE}),
)
