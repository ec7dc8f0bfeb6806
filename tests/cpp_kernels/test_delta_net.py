"""The delta rule with what surrounds it, and the output gate of attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from kernel_delta import FAULTS, Answer, DeltaKernels, Layer, Rows, State, oracle, sigmoid
from kernel_library import Kernels
from kernel_oracles import assert_close, normal, same_bits
from kernel_types import Array, Floats

# k heads, v heads, k_dim, v_dim, conv width: one, odd, shared keys, a real model's, the largest.
SIZES = [
    (1, 1, 1, 1, 2),
    (2, 2, 5, 7, 4),
    (2, 8, 24, 40, 3),
    (2, 4, 33, 31, 4),
    (2, 4, 128, 128, 4),
    (1, 1, 256, 256, 8),
]
ODD = (2, 4, 9, 37, 4)
LENGTHS = [1, 2, 3, 65]

OUT, STATE = 2e-6, 1e-6  # of Answer.size, and of the largest element of the state


@pytest.fixture(scope="module")
def delta(kernels: Kernels) -> DeltaKernels:
    return DeltaKernels(kernels.folder)


def _case(seed: int, sizes: tuple[int, ...], count: int) -> tuple[Layer, Rows, State]:
    rng = np.random.default_rng(seed)
    layer = Layer.random(rng, *sizes)
    return layer, layer.rows(rng, count), layer.state(rng)


def _heads(layer: Layer, out: Array) -> Array:
    return out.reshape(len(out), layer.v_heads, layer.v_dim)


def _out_error(got: Array, wanted: Answer) -> float:
    return float((np.abs(got - wanted.out) / (wanted.size + 1e-6)).max())


def _assert_answer(out: Floats, end: State, wanted: Answer, scale: float = 1.0) -> None:
    assert _out_error(out, wanted) < OUT * scale
    error = np.abs(end.delta - wanted.state.delta).max()
    assert error < STATE * scale * (1 + np.abs(wanted.state.delta).max())
    assert (end.conv == wanted.state.conv).all()


@pytest.mark.parametrize("count", LENGTHS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_close_to_oracle(
    delta: DeltaKernels, table: str, sizes: tuple[int, ...], count: int
) -> None:
    layer, rows, state = _case(count, sizes, count)
    for source in (None, state):
        target = layer.empty()
        out = delta.delta(table, layer, rows, source, target)
        _assert_answer(out, target, oracle(layer, rows, source))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(delta: DeltaKernels, table: str, fault: str) -> None:
    layer, rows, state = _case(1, (2, 4, 16, 24, 4), 5)
    layer = replace(layer, epsilon=0.5)  # a norm alone would hide a wrong scale of q
    out = delta.delta(table, layer, rows, state)
    assert _out_error(out, oracle(layer, rows, state)) < OUT
    assert _out_error(out, oracle(layer, rows, state, fault)) > 1e-2


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
    layer, rows, _ = _case(count, sizes, count)
    hidden = np.concatenate(rows, axis=1)
    with torch.no_grad():
        wanted = _module(layer, hidden.shape[1])(torch.from_numpy(hidden)[None])[0].numpy()
    answer = oracle(layer, rows)._replace(out=wanted.astype(np.float64))
    assert _out_error(delta.delta(table, layer, rows), answer) < 1e-5


@pytest.mark.parametrize("count", LENGTHS)
@pytest.mark.parametrize("sizes", [(2, 2, 24, 40, 4), (2, 4, 33, 31, 4), (2, 8, 16, 16, 3)])
def test_close_to_the_recurrence_of_transformers(
    delta: DeltaKernels, table: str, sizes: tuple[int, ...], count: int
) -> None:
    layer, rows, state = _case(count, sizes, count)
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
    _assert_answer(got, target, Answer(answer, tail, size), scale=2)


@pytest.mark.parametrize("sizes", [*SIZES[:4], ODD], ids=str)
def test_borders_and_ranges_do_not_matter(
    delta: DeltaKernels, table: str, sizes: tuple[int, ...]
) -> None:
    """One call = two calls with the state handed over, at every border, in any cut of the work."""
    count = 21
    layer, rows, state = _case(5, sizes, count)
    end = layer.empty()
    whole = delta.delta(table, layer, rows, state, end)
    for border in range(count + 1):
        middle, last = layer.empty(), layer.empty()
        cuts = (1 + border % 5, 1 + border % 3)
        first = delta.delta(table, layer, rows.part(0, border), state, middle, cuts)
        second = delta.delta(table, layer, rows.part(border, count), middle, last)
        assert same_bits(np.concatenate([first, second]), whole), f"border {border}"
        assert all(same_bits(*pair) for pair in zip(last, end, strict=True)), f"border {border}"


@pytest.mark.parametrize("sizes", [SIZES[1], ODD], ids=str)
def test_in_place_or_beside_or_not_kept(
    delta: DeltaKernels, table: str, sizes: tuple[int, ...]
) -> None:
    for count in (0, 1, 2, 3, 10):
        layer, rows, state = _case(6, sizes, count)
        kept = State(*(part.copy() for part in state))
        end = layer.empty()
        out = delta.delta(table, layer, rows, state, end)
        assert all(same_bits(*pair) for pair in zip(state, kept, strict=True)), "source written"
        assert same_bits(delta.delta(table, layer, rows, state), out)
        assert same_bits(delta.delta(table, layer, rows, kept, kept), out)
        assert all(same_bits(*pair) for pair in zip(kept, end, strict=True))
        if count == 0:
            assert all(same_bits(*pair) for pair in zip(end, state, strict=True))


def test_no_source_is_zeros(delta: DeltaKernels, table: str) -> None:
    for count in (0, 1, 7):
        layer, rows, state = _case(7, ODD, count)
        zeros = State(*(np.zeros_like(part) for part in state))
        ends = layer.empty(), layer.empty()
        outs = [
            delta.delta(table, layer, rows, source, end)
            for source, end in zip((None, zeros), ends, strict=True)
        ]
        assert same_bits(*outs)
        assert all(same_bits(*pair) for pair in zip(*ends, strict=True))


def test_ten_thousand_single_tokens(delta: DeltaKernels, table: str) -> None:
    count = 1_000 if table == "cuda-emulated" else 10_000  # it runs 256 threads a head
    layer, rows, state = _case(8, (2, 4, 8, 12, 4), count)
    end = layer.empty()
    whole = delta.delta(table, layer, rows, state, end)
    for t in range(count):
        out = delta.delta(table, layer, rows.part(t, t + 1), state, state)
        if t % 500 == 499:
            assert same_bits(out[0], whole[t])
    assert np.isfinite(whole).all()
    assert np.isfinite(state.delta).all()
    assert all(same_bits(*pair) for pair in zip(state, end, strict=True))


def _touched(layer: Layer, out: Floats, clean: Floats) -> Array:
    """[rows, v_heads]: 1 where a head is all NaN, 0 where its bits are unchanged, else -1."""
    got, wanted = _heads(layer, out), _heads(layer, clean)
    lost = np.isnan(got).all(axis=2)
    same = (got.view(np.uint32) == wanted.view(np.uint32)).all(axis=2)
    return np.where(lost, 1, np.where(same, 0, -1))


def test_nan_spreads_over_its_heads(delta: DeltaKernels, table: str) -> None:
    """q touches one row, as long as the convolution sees it; k, v and gates all that follow."""
    layer, rows, state = _case(9, (2, 4, 9, 12, 4), 8)
    clean = delta.delta(table, layer, rows, state)
    q, k, v, z = 12, layer.key_columns + 12, 2 * layer.key_columns + 12, layer.channels
    after = np.repeat([[0], [0], [1]], [1, 1, 6], axis=0)
    window = np.repeat([[0], [0], [1], [0]], [1, 1, 4, 2], axis=0)
    shared, second = np.array([[0, 0, 1, 1]]), np.array([[0, 1, 0, 0]])
    for column, wanted in ((q, window * shared), (k, after * shared), (v, after * second)):
        bad = Rows(rows.qkvz.copy(), rows.ba)
        bad.qkvz[2, column] = np.nan
        assert (_touched(layer, delta.delta(table, layer, bad, state), clean) == wanted).all()
    for column in (1, 5):  # b, a of the second head
        bad = Rows(rows.qkvz, rows.ba.copy())
        bad.ba[2, column] = np.nan
        marks = _touched(layer, delta.delta(table, layer, bad, state), clean)
        assert (marks == after * second).all()
    bad = Rows(rows.qkvz.copy(), rows.ba)
    bad.qkvz[2, z + 12 + 3] = np.nan
    wrong = delta.delta(table, layer, bad, state)
    assert np.isnan(wrong[2, 12 + 3])
    wrong[2, 12 + 3] = clean[2, 12 + 3]
    assert same_bits(wrong, clean)
    for part, place in ((0, (v, 2)), (1, (1, 3, 4))):
        ill = State(*(array.copy() for array in state))
        ill[part][place] = np.nan
        marks = _touched(layer, delta.delta(table, layer, rows, ill), clean)
        assert (marks == second).all()


def test_infinity_does_not_stay_hidden(delta: DeltaKernels, table: str) -> None:
    layer, rows, state = _case(10, (2, 4, 9, 12, 4), 8)
    for column in (12, layer.key_columns + 12, 2 * layer.key_columns + 24, layer.channels + 24):
        bad = Rows(rows.qkvz.copy(), rows.ba)
        bad.qkvz[2, column] = np.inf
        out = _heads(layer, delta.delta(table, layer, bad, state))
        assert not np.isfinite(out[2, 2]).all()
        assert np.isfinite(out[:, :2]).all()


@pytest.mark.parametrize("size", [1e3, np.inf])
def test_extreme_gates(delta: DeltaKernels, table: str, size: float) -> None:
    """Decays of 0 and 1, betas of 0 and 1, exactly."""
    layer, rows, state = _case(11, (1, 4, 8, 8, 4), 3)
    layer = replace(layer, a_log=np.zeros(4, np.float32))
    signs = np.array([[-1, 1, -1, 1, -1, -1, 1, 1]] * 3)  # b, then a
    extreme = Rows(rows.qkvz, (signs * size).astype(np.float32))
    limited = Rows(rows.qkvz, (signs * 800.0).astype(np.float32))
    target = layer.empty()
    out = delta.delta(table, layer, extreme, state, target)
    _assert_answer(out, target, oracle(layer, limited, state))
    assert same_bits(target.delta[0], state.delta[0])
    assert (target.delta[2] == 0).all()


def test_zero_rows_of_q_and_k(delta: DeltaKernels, table: str) -> None:
    layer, rows, _ = _case(12, ODD, 4)
    rows.qkvz[:, : 2 * layer.key_columns] = 0
    assert (delta.delta(table, layer, rows) == 0).all()


def test_large_inputs_do_not_overflow(delta: DeltaKernels, table: str) -> None:
    """The square of such a q is no float32."""
    layer, rows, state = _case(13, ODD, 4)
    rows.qkvz[:, : 2 * layer.key_columns] *= np.float32(1e25)
    target = layer.empty()
    out = delta.delta(table, layer, rows, state, target)
    _assert_answer(out, target, oracle(layer, rows, state))


@pytest.mark.parametrize("width", [1, 7, 8, 9, 64, 100])
def test_sigmoid_gate(delta: DeltaKernels, table: str, width: int) -> None:
    rng = np.random.default_rng(width)
    wide, x = normal(rng, 5, width + 11) * 8, normal(rng, 5, width)
    gate = wide[:, 4 : 4 + width]
    got = delta.sigmoid_gate(table, gate, x)
    assert_close(got, x * sigmoid(gate.astype(np.float64)), "silu")
    for row in range(5):
        assert same_bits(delta.sigmoid_gate(table, gate[row:], x[row:])[0], got[row])
    assert delta.sigmoid_gate(table, gate[:0], x[:0]).size == 0


def test_sigmoid_gate_extremes(delta: DeltaKernels, table: str) -> None:
    gate = np.array([[np.inf, -np.inf, 200, -200, np.nan, 0, 0, 0, 0]], np.float32)
    x = np.array([[3, 3, 3, 3, 3, np.nan, np.inf, 3, -0.0]], np.float32)
    got = delta.sigmoid_gate(table, gate, x)[0]
    assert np.isnan(got[[4, 5]]).all()
    assert (got[[0, 1, 2, 6, 7]] == [3, 0, 3, np.inf, 1.5]).all()
    assert abs(got[3]) < 1e-37
    assert np.signbit(got[8])
