"""Faults planted in a hybrid reference model: each is a way to get Qwen3.5 subtly wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from tests.oracle.faults import Plant


def hybrid_faults(text: Any) -> Iterator[tuple[str, Plant]]:
    """(name, what does it) of all faults that this text model can have; `text` has `layers`."""
    yield "norms of 1 + w as w", _plain_norms
    if _deltas(text):
        yield "norm of delta heads as 1 + w", _offset_norm
        yield "convolution one token off", _late_convolution
        yield "beta without sigmoid", _raw_beta
        yield "decay dropped", _no_decay
        yield "b and a swapped", _swapped_gates
        if _deltas(text)[0].num_k_heads > 1:
            yield "key heads swapped", _swap_keys
        if 1 < _deltas(text)[0].num_k_heads < _deltas(text)[0].num_v_heads:
            yield "key heads dealt round", _deal_keys
    if _attentions(text):
        yield "output gate omitted", _no_gate
        yield "gate rows not interleaved", _gate_rows_apart
        yield "rope over all dimensions", _rope_everywhere


def _deltas(text: Any) -> list[Any]:
    return [layer.linear_attn for layer in text.layers if hasattr(layer, "linear_attn")]


def _attentions(text: Any) -> list[Any]:
    return [layer.self_attn for layer in text.layers if hasattr(layer, "self_attn")]


def _plain_norms(text: Any) -> None:
    for module in text.modules():
        if type(module).__name__ == "Qwen3_5RMSNorm":
            module.weight -= 1


def _offset_norm(text: Any) -> None:
    for delta in _deltas(text):
        delta.norm.weight += 1


def _late_convolution(text: Any) -> None:
    for delta in _deltas(text):
        weight = delta.conv1d.weight
        weight.copy_(torch.cat([weight[..., 1:], torch.zeros_like(weight[..., :1])], dim=-1))


class _Raw:
    """Stands for b: what it calls its sigmoid is b itself."""

    def __init__(self, values: torch.Tensor) -> None:
        self._values = values

    def sigmoid(self) -> torch.Tensor:
        return self._values


class _RawProjection(torch.nn.Module):
    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, rows: torch.Tensor) -> Any:
        return _Raw(self.inner(rows))


def _raw_beta(text: Any) -> None:
    for delta in _deltas(text):
        delta.in_proj_b = _RawProjection(delta.in_proj_b)


def _no_decay(text: Any) -> None:
    for delta in _deltas(text):
        delta.A_log.fill_(-30.0)


def _swapped_gates(text: Any) -> None:
    for delta in _deltas(text):
        delta.in_proj_a, delta.in_proj_b = delta.in_proj_b, delta.in_proj_a


def _swap_keys(text: Any) -> None:
    """The first and the last key head serve each other's value heads."""
    for delta in _deltas(text):
        for weight in (delta.in_proj_qkv.weight, delta.conv1d.weight):
            for start in (0, delta.key_dim):
                rows = weight[start : start + delta.key_dim]
                heads = rows.view(delta.num_k_heads, -1).clone()
                heads[[0, -1]] = heads[[-1, 0]]
                rows.copy_(heads.view(rows.shape))


def _deal_keys(text: Any) -> None:
    """Value head i takes key head i modulo their number: the value heads change places instead."""
    for delta in _deltas(text):
        k_heads, v_heads = delta.num_k_heads, delta.num_v_heads
        order = [i for k in range(k_heads) for i in range(v_heads) if i % k_heads == k]
        values = slice(2 * delta.key_dim, None)
        _reorder(delta.in_proj_qkv.weight[values], order)
        _reorder(delta.conv1d.weight[values], order)
        for name in ("in_proj_z", "in_proj_b", "in_proj_a"):
            _reorder(getattr(delta, name).weight, order)
        _reorder(delta.A_log, order)
        _reorder(delta.dt_bias, order)
        _reorder(delta.out_proj.weight.T, order)


def _reorder(rows: torch.Tensor, order: list[int]) -> None:
    heads = rows.reshape(len(order), -1, *rows.shape[1:])
    rows.copy_(heads[order].reshape(rows.shape))


def _no_gate(text: Any) -> None:
    """A gate of zero halves what it scales; the output projection doubles it again."""
    for attention in _attentions(text):
        for parameter in (attention.q_proj.weight, attention.q_proj.bias):
            if parameter is not None:
                heads = parameter.view(-1, 2, attention.head_dim, *parameter.shape[1:])
                heads[:, 1] = 0
        attention.o_proj.weight *= 2


def _gate_rows_apart(text: Any) -> None:
    """All query heads are taken from the first half of the rows, all gates from the second."""
    for attention in _attentions(text):
        for parameter in (attention.q_proj.weight, attention.q_proj.bias):
            if parameter is not None:
                apart = parameter.view(2, -1, attention.head_dim, *parameter.shape[1:])
                parameter.copy_(apart.transpose(0, 1).clone().reshape(parameter.shape))


def _rope_everywhere(text: Any) -> None:
    rotary, dim = text.rotary_emb, _attentions(text)[0].head_dim
    theta = text.config.rope_parameters["rope_theta"]
    rotary.inv_freq = theta ** (-torch.arange(0, dim, 2) / dim)
