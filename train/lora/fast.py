"""A layer's forward and backward pass in bf16 for CPUs that multiply it in tiles.

PyTorch's own layers spend most of a step outside matrix products: attention's backward pass walks
all pairs of tokens, masked ones included, and PEFT casts and scales between its products. Here
every operation is a function with its gradient by hand: products in bf16 (AMX where the CPU has
it), attention in blocks of queries up to the last key that they see, the rest in float32.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from stepguard.train.lora.rows import Row

_BLOCK = 64  # queries that are scored at once: of all heads they fit into a core's cache
_BF16 = torch.bfloat16
_KINDS = ("LlamaDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer")


class _Linear(torch.autograd.Function):
    """bf16 [n, in] -> bf16 [n, out] by a frozen matrix."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return grad @ weight, None, None


class _LoraLinear(torch.autograd.Function):
    """The same with B @ A * scale beside it; A and B are float32 and learn."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        down, up = a.to(_BF16), (b * scale).to(_BF16)
        low = x @ down.T
        out = functional.linear(x, weight, bias).addmm_(low, up.T)
        ctx.save_for_backward(x, weight, down, up, low)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, down, up, low = ctx.saved_tensors
        below = grad @ up
        back = (grad @ weight).addmm_(below, down) if ctx.needs_input_grad[0] else None
        to_a, to_b = (below.T @ x).float(), (grad.T @ low).float() * ctx.scale
        return back, None, None, to_a, to_b, None


class _Norm(torch.autograd.Function):
    """float32 [n, hidden] -> bf16, divided by its root mean square, times a frozen row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        size = torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(x, weight, size)
        return (x * size).mul_(weight).to(_BF16)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, weight, size = ctx.saved_tensors
        scaled = grad.float() * weight
        share = (scaled * x).mean(-1, keepdim=True) * size.square()
        return scaled.addcmul_(x, share, value=-1).mul_(size), None, None


class _Gated(torch.autograd.Function):
    """silu(gate) * up, bf16 [n, inner]."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        back = torch.ops.aten.silu_backward(grad * up, gate)
        return back, functional.silu(gate).mul_(grad)


class _Turned(torch.autograd.Function):
    """Rotary places of heads, float32 or bf16 [n, heads, width] -> bf16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(grad, cos, -sin), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    low, high = x.float().chunk(2, -1)
    return torch.cat([low * cos - high * sin, high * cos + low * sin], -1).to(_BF16)


class _Attention(torch.autograd.Function):
    """Attention in bf16: q [groups, heads of a group, n, width], k and v [groups, n, width].

    trunk: tokens up to there see all before them; later ones what `mask` says, float32-like bf16
    [n, n], 0 or minus infinity. Scores are rounded to bf16, sums are float32.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, trunk: int) -> Tensor:
        out, kept = torch.empty_like(q), []
        groups, heads, n, width = q.shape
        flipped = k.transpose(1, 2).contiguous()
        for begin in range(0, n, _BLOCK):
            end = min(begin + _BLOCK, n)
            asked = q[:, :, begin:end].reshape(groups, -1, width)
            scores = torch.bmm(asked, flipped[:, :, :end])
            low = begin if end <= trunk else 0
            parts = scores.view(groups, heads, end - begin, end)
            parts[..., low:].add_(mask[begin:end, low:end])
            shares = torch.softmax(scores, -1)
            found = torch.bmm(shares, v[:, :end])
            out[:, :, begin:end] = found.view(groups, heads, end - begin, width)
            kept.append(shares)
        ctx.save_for_backward(q, k, v, out, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, *kept = ctx.saved_tensors
        groups, heads, n, width = q.shape
        mean = (grad.float() * out).sum(-1, keepdim=True).to(_BF16)
        to_q = torch.empty_like(q)
        to_k, to_v = (
            torch.zeros_like(k, dtype=torch.float32),
            torch.zeros_like(v, dtype=torch.float32),
        )
        flipped = v.transpose(1, 2).contiguous()
        for index, begin in enumerate(range(0, n, _BLOCK)):
            end, shares = min(begin + _BLOCK, n), kept[index]
            come = grad[:, :, begin:end].reshape(groups, -1, width)
            asked = q[:, :, begin:end].reshape(groups, -1, width)
            back = torch.bmm(come, flipped[:, :, :end])
            back.sub_(mean[:, :, begin:end].reshape(groups, -1, 1)).mul_(shares)
            to_q[:, :, begin:end] = torch.bmm(back, k[:, :end]).view(groups, heads, -1, width)
            to_k[:, :end] += torch.bmm(back.transpose(1, 2), asked)
            to_v[:, :end] += torch.bmm(shares.transpose(1, 2), come)
        return to_q, to_k.to(_BF16), to_v.to(_BF16), None, None


def able(layer: nn.Module) -> bool:
    """Whether `run` knows this kind of layer, and its adapter has no dropout."""
    drops = [m for name, m in layer.named_modules() if "lora_dropout" in name]
    busy = any(isinstance(m, nn.Dropout) and m.p > 0 for m in drops)
    return type(layer).__name__ in _KINDS and not busy


def mask_of(row: Row) -> Tensor:
    """bf16 [n, n]: 0 where a token may look, else minus infinity."""
    seen = torch.from_numpy(row.sees())
    return torch.zeros(seen.shape, dtype=_BF16).masked_fill_(~seen, float("-inf"))


def run(layer: Any, x: Tensor, turned: tuple[Tensor, Tensor], mask: Tensor, trunk: int) -> Tensor:
    """float32 [n, hidden] -> the same behind the layer. turned: cos and sin [n, width / 2]."""
    attention, mlp = layer.self_attn, layer.mlp
    normed = _norm(layer.input_layernorm, x)
    width = attention.head_dim
    q, k, v = (
        _linear(getattr(attention, name), normed).view(len(x), -1, width)
        for name in ("q_proj", "k_proj", "v_proj")
    )
    q, k = _head_norm(attention, "q_norm", q), _head_norm(attention, "k_norm", k)
    turn = partial(_apply, _Turned)
    cos, sin = (one[:, None] for one in turned)
    q, k = turn(q, cos * width**-0.5, sin * width**-0.5), turn(k, cos, sin)
    groups = k.shape[1]
    q = q.view(len(x), groups, -1, width).permute(1, 2, 0, 3).contiguous()
    k, v = k.transpose(0, 1).contiguous(), v.transpose(0, 1).contiguous()
    out = _apply(_Attention, q, k, v, mask, trunk).permute(2, 0, 1, 3).reshape(len(x), -1)
    x = x + _linear(attention.o_proj, out)
    normed = _norm(layer.post_attention_layernorm, x)
    inner = _apply(_Gated, _linear(mlp.gate_proj, normed), _linear(mlp.up_proj, normed))
    return x + _linear(mlp.down_proj, inner)


def _apply(function: Any, *given: Any) -> Tensor:
    found: Tensor = function.apply(*given)  # untyped in PyTorch
    return found


def _norm(module: Any, x: Tensor) -> Tensor:
    return _apply(_Norm, x, module.weight, module.variance_epsilon)


def _head_norm(attention: Any, name: str, x: Tensor) -> Tensor:
    module = getattr(attention, name, None)
    return x if module is None else _norm(module, x.float())


def _linear(module: Any, x: Tensor) -> Tensor:
    if not hasattr(module, "lora_A"):
        return _apply(_Linear, x, module.weight, module.bias)
    base, (name,) = module.base_layer, module.active_adapters
    a, b = module.lora_A[name].weight, module.lora_B[name].weight
    return _apply(_LoraLinear, x, base.weight, base.bias, a, b, module.scaling[name])
