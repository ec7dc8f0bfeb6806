"""The delta rule against the layer of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from delta_cases import LENGTHS, assert_answer, case, out_error
from kernel_delta import Answer, DeltaKernels, Layer, State, oracle


def _module(layer: Layer, hidden: int) -> Any:
    """The layer as transformers has it. Its projections pick their columns from rows that hold
    qkvz, then b and a."""
    torch = pytest.importorskip("torch")
    modeling: Any = pytest.importorskip("transformers.models.qwen3_5.modeling_qwen3_5")
    torch.set_num_threads(1)
    config = modeling.Qwen3_5TextConfig(
        hidden_size=hidden,
        linear_num_key_heads=layer.k_heads,
        linear_num_value_heads=layer.v_heads,
        linear_key_head_dim=layer.k_dim,
        linear_value_head_dim=layer.v_dim,
        linear_conv_kernel_dim=layer.width,
        num_hidden_layers=1,
        layer_types=["linear_attention"],
    )
    module = modeling.Qwen3_5GatedDeltaNet(config, 0).eval()
    sizes = [layer.channels, layer.v_heads * layer.v_dim, layer.v_heads, layer.v_heads]
    picks = torch.eye(hidden).split(sizes)
    for name, pick in zip(("qkv", "z", "b", "a"), picks, strict=True):
        getattr(module, f"in_proj_{name}").weight.data = pick
    module.conv1d.weight.data = torch.from_numpy(layer.conv_weight[:, None])
    module.A_log.data = torch.from_numpy(layer.a_log)
    module.dt_bias.data = torch.from_numpy(layer.dt_bias)
    module.norm.weight.data = torch.from_numpy(layer.norm)
    module.out_proj = torch.nn.Identity()
    return module


@pytest.mark.parametrize("count", LENGTHS)
@pytest.mark.parametrize("sizes", [(3, 3, 16, 24, 4), (2, 4, 16, 16, 4), (1, 4, 128, 128, 4)])
def test_close_to_the_module_of_transformers(
    delta: DeltaKernels, table: str, sizes: tuple[int, ...], count: int
) -> None:
    """It reads in chunks of 64, so its rounding differs more than ours does from the oracle."""
    torch = pytest.importorskip("torch")
    layer, rows, _ = case(count, sizes, count)
    hidden = np.concatenate(rows, axis=1)
    with torch.no_grad():
        wanted = _module(layer, hidden.shape[1])(torch.from_numpy(hidden)[None])[0].numpy()
    answer = oracle(layer, rows)._replace(out=wanted.astype(np.float64))
    assert out_error(delta.delta(table, layer, rows), answer) < 1e-5


@pytest.mark.parametrize("count", LENGTHS)
@pytest.mark.parametrize("sizes", [(2, 2, 24, 40, 4), (2, 4, 33, 31, 4), (2, 8, 16, 16, 3)])
def test_close_to_the_recurrence_of_transformers(
    delta: DeltaKernels, table: str, sizes: tuple[int, ...], count: int
) -> None:
    layer, rows, state = case(count, sizes, count)
    torch = pytest.importorskip("torch")
    modeling: Any = pytest.importorskip("transformers.models.qwen3_5.modeling_qwen3_5")
    x, z = (torch.from_numpy(part) for part in np.split(rows.qkvz, [layer.channels], axis=1))
    b, a = (torch.from_numpy(part) for part in np.split(rows.ba, 2, axis=1))
    history = torch.cat([torch.from_numpy(state.conv), x.T], dim=1)[None]
    weight = torch.from_numpy(layer.conv_weight)[:, None]
    conv = torch.nn.functional.conv1d(history, weight, groups=layer.channels)
    mixed = torch.nn.functional.silu(conv)[0].T
    cuts = [layer.key_columns, layer.key_columns, layer.v_heads * layer.v_dim]
    shapes = [(layer.k_heads, layer.k_dim)] * 2 + [(layer.v_heads, layer.v_dim)]
    parts = torch.split(mixed, cuts, dim=1)
    q, k, v = (part.reshape(1, count, *shape) for part, shape in zip(parts, shapes, strict=True))
    rate = -torch.from_numpy(layer.a_log).exp()
    g = rate * torch.nn.functional.softplus(a + torch.from_numpy(layer.dt_bias))
    out, end = modeling.torch_recurrent_gated_delta_rule(
        q,
        k,
        v,
        g=g[None],
        beta=b.sigmoid()[None],
        initial_state=torch.from_numpy(state.delta)[None],
        output_final_state=True,
        use_qk_l2norm_in_kernel=True,
    )
    norm = modeling.Qwen3_5RMSNormGated(layer.v_dim, eps=layer.epsilon)
    norm.weight.data = torch.from_numpy(layer.norm)
    with torch.no_grad():
        wanted = norm(out[0].reshape(-1, layer.v_dim), z.reshape(-1, layer.v_dim))

    target = layer.empty()
    got = delta.delta(table, layer, rows, state, target)
    size = oracle(layer, rows, state).size
    answer = wanted.reshape(count, -1).numpy().astype(np.float64)
    tail = State(history[0, :, count:].numpy(), end[0].numpy())
    assert_answer(got, target, Answer(answer, tail, size), scale=2)
