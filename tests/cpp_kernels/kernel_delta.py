"""The delta rule: a random layer, the kernel call, and what it should answer in float64."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from kernel_library import Kernels
from kernel_oracles import normal
from kernel_types import Array, Doubles, Floats, Guarded

WHOLE = 1 << 40
L2_EPSILON = 1e-6


class _Shape(ctypes.Structure):
    """DeltaShape of kernels.h, field by field."""

    _fields_ = (
        ("k_heads", ctypes.c_int64),
        ("v_heads", ctypes.c_int64),
        ("k_dim", ctypes.c_int64),
        ("v_dim", ctypes.c_int64),
        ("conv_width", ctypes.c_int64),
        ("epsilon", ctypes.c_float),
        ("conv_weight", ctypes.c_void_p),
        ("a_log", ctypes.c_void_p),
        ("dt_bias", ctypes.c_void_p),
        ("norm", ctypes.c_void_p),
    )


class _Call(ctypes.Structure):
    """DeltaCall of kernels.h, field by field."""

    _fields_ = (
        ("rows", ctypes.c_int64),
        ("qkvz", ctypes.c_void_p),
        ("ba", ctypes.c_void_p),
        ("conv_source", ctypes.c_void_p),
        ("conv_target", ctypes.c_void_p),
        ("delta_source", ctypes.c_void_p),
        ("delta_target", ctypes.c_void_p),
        ("qkv", ctypes.c_void_p),
        ("gates", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
    )


class State(NamedTuple):
    """The last inputs of every channel and the matrix of every head."""

    conv: Array  # [channels, width - 1], oldest first
    delta: Array  # [v_heads, k_dim, v_dim]


class Rows(NamedTuple):
    """What the layer reads, row by row."""

    qkvz: Floats
    ba: Floats

    def part(self, begin: int, end: int) -> Rows:
        return Rows(self.qkvz[begin:end], self.ba[begin:end])


@dataclass(frozen=True)
class Layer:
    """Sizes and weights of one layer."""

    k_heads: int
    v_heads: int
    k_dim: int
    v_dim: int
    width: int
    conv_weight: Floats
    a_log: Floats
    dt_bias: Floats
    norm: Floats
    epsilon: float = 1e-6

    @classmethod
    def random(cls, rng: np.random.Generator, *sizes: int) -> Layer:
        k_heads, v_heads, k_dim, v_dim, width = sizes
        channels = 2 * k_heads * k_dim + v_heads * v_dim
        weights = (normal(rng, channels, width), normal(rng, v_heads), normal(rng, v_heads))
        return cls(k_heads, v_heads, k_dim, v_dim, width, *weights, normal(rng, v_dim))

    @property
    def key_columns(self) -> int:
        return self.k_heads * self.k_dim

    @property
    def channels(self) -> int:
        return 2 * self.key_columns + self.v_heads * self.v_dim

    def rows(self, rng: np.random.Generator, count: int) -> Rows:
        """Random rows whose decays span 0.05 to 0.999 evenly in their logarithm."""
        decay = np.exp(rng.uniform(np.log(0.05), np.log(0.999), (count, self.v_heads)))
        softplus = -np.log(decay) / np.exp(self.a_log.astype(np.float64))
        a = np.log(np.expm1(softplus)) - self.dt_bias
        ba = np.concatenate([normal(rng, count, self.v_heads) * 2, a], axis=1)
        qkvz = normal(rng, count, self.channels + self.v_heads * self.v_dim)
        return Rows(qkvz, ba.astype(np.float32))

    def state(self, rng: np.random.Generator) -> State:
        delta = normal(rng, self.v_heads, self.k_dim, self.v_dim)
        return State(normal(rng, self.channels, self.width - 1), delta)

    def empty(self) -> State:
        """Room for a state, all NaN."""
        conv = np.full((self.channels, self.width - 1), np.nan, np.float32)
        return State(conv, np.full((self.v_heads, self.k_dim, self.v_dim), np.nan, np.float32))


class DeltaKernels(Kernels):
    """The kernel tables with the delta rule and the output gate."""

    def delta(
        self,
        table: str,
        layer: Layer,
        rows: Rows,
        source: State | None = None,
        target: State | None = None,
        cuts: tuple[int, int] = (WHOLE, WHOLE),
    ) -> Floats:
        """One segment; the end of its state goes to `target`. Returns [rows, v_heads * v_dim]."""
        count = len(rows.qkvz)
        qkv, gates = Guarded(count, layer.channels), Guarded(layer.v_heads, count, 2)
        out = Guarded(count, layer.v_heads * layer.v_dim)
        sizes = (layer.k_heads, layer.v_heads, layer.k_dim, layer.v_dim, layer.width)
        weights = (layer.conv_weight, layer.a_log, layer.dt_bias, layer.norm)
        shape = _Shape(*sizes, layer.epsilon, *(_address(array) for array in weights))
        states = [state and _address(state[part]) for part in (0, 1) for state in (source, target)]
        work = (_address(array) for array in (qkv.array, gates.array, out.array))
        call = _Call(count, _address(rows.qkvz), _address(rows.ba), *states, *work)
        limits = (ctypes.c_int64(cut) for cut in cuts)
        self._call("sg_delta", table, ctypes.byref(shape), ctypes.byref(call), *limits)
        qkv.checked()
        gates.checked()
        return out.checked()

    def sigmoid_gate(self, table: str, gate: Floats, x: Floats) -> Floats:
        """x * sigmoid(gate); both may be columns of wider arrays."""
        y = Guarded(len(x), x.shape[1] + 3)
        y.array[:, : x.shape[1]] = x
        strides = (gate.strides[0] // 4, *x.shape)
        numbers = [ctypes.c_int64(number) for number in strides]
        end = (ctypes.c_void_p(_address(y.array)), ctypes.c_int64(y.array.shape[1]))
        start = ctypes.c_void_p(gate.ctypes.data)
        self._call("sg_sigmoid_gate", table, start, *numbers, *end)
        assert (y.checked()[:, x.shape[1] :] == Guarded.MARK).all(), "written beside the columns"
        return y.array[:, : x.shape[1]].copy()


def _address(array: Array) -> int:
    assert array.flags.c_contiguous
    assert array.dtype == np.float32
    return int(array.ctypes.data)


class Answer(NamedTuple):
    """What a call should give."""

    out: Doubles
    state: State
    size: Doubles  # what rounding errors of `out` are relative to: sums of magnitudes


def sigmoid(x: Doubles) -> Doubles:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)))


def _unit(x: Doubles) -> Doubles:
    return np.asarray(x / np.sqrt((x * x).sum(axis=-1, keepdims=True) + L2_EPSILON))


FAULTS = (
    "norm weight plus one",
    "tail lost",
    "tail shifted",
    "beta without sigmoid",
    "keys dealt round",
    "q not scaled",
    "decay after the update",
    "gate without silu",
)


def oracle(layer: Layer, rows: Rows, source: State | None = None, fault: str = "") -> Answer:
    """The layer in float64, with the state in float64 too; or with one planted fault."""
    x, z = np.split(rows.qkvz.astype(np.float64), [layer.channels], axis=1)
    b, a = np.split(rows.ba.astype(np.float64), 2, axis=1)
    conv, state = source or (
        np.zeros((layer.channels, layer.width - 1)),
        np.zeros((layer.v_heads, layer.k_dim, layer.v_dim)),
    )
    tail = {"tail lost": conv * 0, "tail shifted": np.roll(conv, 1, axis=1)}.get(fault, conv)
    inputs = np.concatenate([tail.T, x])
    weight = layer.conv_weight.astype(np.float64)
    mixed = sum(weight[:, j] * inputs[j : j + len(x)] for j in range(layer.width))
    mixed = mixed * sigmoid(np.asarray(mixed))

    q, k, v = np.split(mixed, [layer.key_columns, 2 * layer.key_columns], axis=1)
    order = np.repeat(np.arange(layer.k_heads), layer.v_heads // layer.k_heads)
    if fault == "keys dealt round":
        order = np.arange(layer.v_heads) % layer.k_heads
    q, k = (_unit(part.reshape(len(x), layer.k_heads, -1))[:, order] for part in (q, k))
    q = q if fault == "q not scaled" else q / np.sqrt(layer.k_dim)
    v = v.reshape(len(x), layer.v_heads, layer.v_dim)
    beta = b if fault == "beta without sigmoid" else sigmoid(b)
    decay = np.exp(-np.exp(layer.a_log.astype(np.float64)) * np.logaddexp(0, a + layer.dt_bias))

    state = state.astype(np.float64)
    out, size = np.empty_like(v), np.empty_like(v)
    for t in range(len(x)):
        before = state if fault == "decay after the update" else state * decay[t, :, None, None]
        known = np.einsum("hk,hkv->hv", k[t], before)
        change = np.einsum("hk,hv->hkv", k[t], (v[t] - known) * beta[t, :, None])
        state = before + change
        if fault == "decay after the update":
            state = state * decay[t, :, None, None]
        out[t] = np.einsum("hk,hkv->hv", q[t], state)
        size[t] = np.einsum("hk,hkv->hv", np.abs(q[t]), np.abs(state))

    z = z.reshape(v.shape)
    gate = sigmoid(z) if fault == "gate without silu" else z * sigmoid(z)
    norm = layer.norm.astype(np.float64) + (fault == "norm weight plus one")
    mean = (out * out).mean(axis=-1, keepdims=True)
    gain = norm * gate / np.sqrt(mean + layer.epsilon)
    size = (size.max(axis=-1, keepdims=True) * np.abs(gain)).reshape(len(x), -1)
    return Answer((out * gain).reshape(len(x), -1), State(inputs[len(x) :].T, state), size)
