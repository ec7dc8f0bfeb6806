"""Faults planted in a reference model: each is a way to get a checkpoint subtly wrong.

A comparison that still passes with one of them proves nothing about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

Plant = Callable[[Any], None]


def faults(model: Any) -> Iterator[tuple[str, Plant]]:
    """(name, what does it) of all faults that this model can have."""
    yield "no rope", _no_rope
    yield "theta x 100", _theta
    yield "wrong half order", _half_order
    yield "query heads swapped", _swap("q_proj")
    if model.config.num_key_value_heads > 1:
        yield "key heads swapped", _swap("k_proj")
    layer = model.model.layers[0]
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        if getattr(layer.self_attn, name).bias is not None:
            yield f"bias of {name} dropped", _no_bias(name)
    if model.config.tie_word_embeddings:
        yield "tied table not used", _own_head
    else:
        yield "table taken as tied", _tie
    if hasattr(layer.self_attn, "q_norm"):
        yield "norm of q dropped", _no_norm("q_norm")
        yield "norm of k dropped", _no_norm("k_norm")
    if getattr(model.model.rotary_emb, "rope_type", "default") != "default":
        yield "rope scaling dropped", _no_scaling


def _attentions(model: Any) -> list[Any]:
    return [layer.self_attn for layer in model.model.layers]


def _set_frequencies(model: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    rotary = model.model.rotary_emb
    rotary.inv_freq = change(rotary.inv_freq)


def _no_rope(model: Any) -> None:
    _set_frequencies(model, torch.zeros_like)


def _theta(model: Any) -> None:
    def change(frequencies: torch.Tensor) -> torch.Tensor:
        places = torch.arange(len(frequencies)) / len(frequencies)
        return frequencies * 100.0**-places

    _set_frequencies(model, change)


def _no_scaling(model: Any) -> None:
    theta = model.config.rope_parameters["rope_theta"]

    def change(frequencies: torch.Tensor) -> torch.Tensor:
        places = torch.arange(len(frequencies)) / len(frequencies)
        return theta**-places

    _set_frequencies(model, change)


def _rows(
    model: Any, names: tuple[str, ...], order: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Reorders the rows [heads, head_dim, ...] of projections in every layer."""
    for attention in _attentions(model):
        for name in names:
            projection = getattr(attention, name)
            for parameter in (projection.weight, projection.bias):
                if parameter is not None:
                    heads = parameter.view(-1, attention.head_dim, *parameter.shape[1:])
                    parameter.copy_(order(heads.clone()).reshape(parameter.shape))


def _half_order(model: Any) -> None:
    """q and k stay consistent; only which elements rotate together changes."""

    def pairs_apart(heads: torch.Tensor) -> torch.Tensor:
        return torch.cat([heads[:, 0::2], heads[:, 1::2]], dim=1)

    _rows(model, ("q_proj", "k_proj"), pairs_apart)
    for attention in _attentions(model):
        for name in ("q_norm", "k_norm"):
            if hasattr(attention, name):
                weight = getattr(attention, name).weight
                weight.copy_(torch.cat([weight[0::2], weight[1::2]]).clone())


def _swap(name: str) -> Plant:
    def exchange(heads: torch.Tensor) -> torch.Tensor:
        heads[[0, -1]] = heads[[-1, 0]]
        return heads

    return lambda model: _rows(model, (name,), exchange)


def _no_bias(name: str) -> Plant:
    def plant(model: Any) -> None:
        for attention in _attentions(model):
            getattr(attention, name).bias.zero_()

    return plant


def _no_norm(name: str) -> Plant:
    def plant(model: Any) -> None:
        for attention in _attentions(model):
            setattr(attention, name, torch.nn.Identity())

    return plant


def _own_head(model: Any) -> None:
    weight = model.lm_head.weight
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(99))
    model.lm_head.weight = torch.nn.Parameter(noise * weight.std(), requires_grad=False)


def _tie(model: Any) -> None:
    model.lm_head.weight = model.model.embed_tokens.weight
