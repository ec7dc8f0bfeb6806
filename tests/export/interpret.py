"""A slow numpy interpreter of an exported model directory: one sequence, no pages, no States.

It reads the graph and the packed layouts straight from their description, so it tells whether what
was written means what the checkpoint meant, without the runtime.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Array = npt.NDArray[Any]
PANEL, BLOCK = 16, 32


class Directory:
    """`tensors` holds every initializer; `run(ids)` gives the logits of all rows and positions."""

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(str(path / "model.onnx"))
        self.tensors = {t.name: numpy_helper.to_array(t) for t in self.model.graph.initializer}
        self.attributes = {
            node.name: {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            for node in self.model.graph.node
        }

    def dense(self, node: Any) -> Array:
        """The float32 [n, k] that a Linear node's packed weight stands for, rows in fused order."""
        attributes = self.attributes[node.name]
        form, n, k = attributes["format"].decode(), attributes["n"], attributes["k"]
        weight = self.tensors[node.input[1]]
        if form == "float32":
            rows = weight.transpose(0, 2, 1).reshape(-1, k)
        else:
            scales = self.tensors[node.input[2]].transpose(0, 2, 1).astype(np.float32)
            values = unpack(weight, form).reshape(*scales.shape, BLOCK)
            rows = (values * scales[..., None]).reshape(len(scales) * PANEL, -1)[:, :k]
        if attributes["epilogue"] != b"swiglu":
            return rows[:n]
        pairs = rows.reshape(-1, 2, PANEL, k)
        return np.concatenate([pairs[:, i].reshape(-1, k)[: n // 2] for i in (0, 1)])

    def table(self, node: Any, first: int) -> Array:
        """float32 [vocabulary, hidden] of the table at that input of a node, scales behind it."""
        table = self.tensors[node.input[first]].astype(np.float32)
        if len(node.input) <= first + 1 or not node.input[first + 1]:
            return table
        scales = self.tensors[node.input[first + 1]].astype(np.float32)
        return table * np.repeat(scales, BLOCK, axis=1)[:, : table.shape[1]]

    def run(self, ids: list[int]) -> tuple[Array, Array]:
        """(logits [T, vocabulary], normed hidden rows [T, hidden]) of one sequence."""
        values: dict[str, Array] = {}
        for node in self.model.graph.node:
            op = getattr(self, f"_{node.op_type.lower()}")
            result = op(node, self.attributes[node.name], values, ids)
            if node.op_type == "ReadOut":
                return result
            values[node.output[0]] = result
        raise AssertionError("no ReadOut")

    def _embed(
        self, node: Any, a: dict[str, Any], values: dict[str, Array], ids: list[int]
    ) -> Array:
        return self.table(node, 1)[ids].astype(np.float64)

    def _rmsnorm(self, node: Any, a: dict[str, Any], values: dict[str, Array], ids: Any) -> Array:
        weight = self.tensors[node.input[1]]
        return rms_norm(values[node.input[0]], weight, a["epsilon"], a["offset"])

    def _linear(self, node: Any, a: dict[str, Any], values: dict[str, Array], ids: Any) -> Array:
        y = values[node.input[0]] @ self.dense(node).T.astype(np.float64)
        inputs = [*node.input, "", "", ""]
        if inputs[3]:
            y = y + self.tensors[inputs[3]]
        if a["epilogue"] == b"residual":
            return y + values[inputs[4]]
        if a["epilogue"] == b"swiglu":
            gate, up = np.split(y, 2, axis=1)
            return gate / (1 + np.exp(-gate)) * up
        return y

    def _attention(self, node: Any, a: dict[str, Any], values: dict[str, Array], ids: Any) -> Array:
        heads, kv_heads, dim = a["heads"], a["kv_heads"], a["head_dim"]
        rows = values[node.input[0]].reshape(len(ids), heads + 2 * kv_heads, dim)
        q, k, v = np.split(rows, [heads, heads + kv_heads], axis=1)
        norms = [*node.input, "", ""][6:8]
        if norms[0]:
            q, k = (
                rms_norm(x, self.tensors[name], a["epsilon"], a["norm_offset"])
                for x, name in zip((q, k), norms, strict=True)
            )
        q, k = (rotate(x, self.tensors[node.input[5]], a["rotary_dim"]) for x in (q, k))
        k, v = (np.repeat(x, heads // kv_heads, axis=1) for x in (k, v))
        logits = np.einsum("qhd,khd->hqk", q, k) * a["scale"]
        logits[:, np.triu(np.ones(logits.shape[1:], bool), 1)] = -np.inf
        weights = np.exp(logits - logits.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        return np.einsum("hqk,khd->qhd", weights, v).reshape(len(ids), -1)

    def _gather(self, node: Any, a: dict[str, Any], values: dict[str, Array], ids: Any) -> Array:
        return values[node.input[0]]  # here every row is read

    def _readout(
        self, node: Any, a: dict[str, Any], values: dict[str, Array], ids: Any
    ) -> tuple[Array, Array]:
        weight = self.tensors[node.input[1]]
        hidden = rms_norm(values[node.input[0]], weight, a["epsilon"], a["offset"])
        table = self.table(node, 6).copy()
        table[self.tensors[node.input[4]]] = self.tensors[node.input[5]]
        return hidden @ table.T.astype(np.float64), hidden


def unpack(weight: Array, form: str) -> Array:
    """int8 [panels, 16, Kp] values of a packed int8 or int4 weight."""
    panels = len(weight)
    if form == "int8":
        return weight.transpose(0, 2, 1, 3).reshape(panels, PANEL, -1)
    words = weight.view("<u4")[..., 0]
    nibbles = np.stack([(words >> (4 * i)) & 15 for i in range(8)], axis=-1).astype(np.int8) - 8
    return nibbles.transpose(0, 2, 1, 3).reshape(panels, PANEL, -1)


def rms_norm(x: Array, weight: Array, epsilon: float, offset: float) -> Array:
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon) * (offset + weight)


def rotate(x: Array, frequencies: Array, rotary: int) -> Array:
    """Half-split rotation of [T, heads, dim] by the position of each row."""
    positions = np.arange(len(x), dtype=np.float32)
    angle = (positions[:, None] * frequencies).astype(np.float64)[:, None]
    a, b, rest = np.split(x, [rotary // 2, rotary], axis=2)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], axis=2)
