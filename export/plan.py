"""From an architecture table and a checkpoint to tensors of weights.bin and nodes of the graph."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from . import panels
from .architecture import Attention, DeltaNet, Linear, Norm
from .matrix import Array, Matrix, Part
from .quantise import BLOCK
from .shape import Shape
from .source import Source
from .stream import Item, Slot, array_item

_TABLE_BYTES = 8 << 20


@dataclass(frozen=True)
class Node:
    """One node of the graph; "" stands for an input that is left out."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass
class Plan:
    """Everything that is written: items in file order, nodes in graph order."""

    shape: Shape
    items: list[Item] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    linear: Counter[str] = field(default_factory=Counter)
    table: str = ""
    attention_layers: int = 0  # layer i of them has the arena kv.i
    delta_layers: int = 0  # layer i of them has the arenas conv.i and delta.i
    writes: bool = False  # gives next tokens


def make_plan(source: Source, row_ids: tuple[int, ...], *, writes: bool = False) -> Plan:
    """Plans the export of `source`.

    `row_ids` are the output rows that are kept in float32; `writes` adds the next token.
    """
    plan = Plan(source.shape, writes=writes)
    embedding = _add_table(plan, source.embedding(), "embedding", source.quant)
    head = embedding
    if not source.shape.tied:
        head = _add_table(plan, source.head(), "head", source.quant)
    if "attention" in source.shape.kinds:
        plan.items.append(array_item("rope.inv_freq", source.inverse_frequencies()))
    plan.nodes.append(_node("Embed", "embed", ["ids", *embedding], ("embed",), {}))
    stream = "embed"
    for layer in range(source.shape.layers):
        stream = _Layer(plan, source, layer, stream).build()
    _add_read_out(plan, source, stream, head, row_ids)
    if writes:
        inputs = [stream, "read_out.norm.weight", "nexts", *head]
        outputs = ("next_ids", "next_scores")
        attributes = _norm_attributes(source.shape)
        plan.nodes.append(_node("NextToken", "next_token", inputs, outputs, attributes))
    return plan


def _add_table(plan: Plan, part: Part, name: str, quant: str) -> tuple[str, str]:
    """Adds a table [vocabulary, hidden]; returns the names of table and scales."""
    rows, k = part.shape
    if quant == "float32":
        plan.table = "float32"
        table = Slot(f"{name}.table", np.dtype(np.float32), (rows, k))
        plan.items.append(Item((table,), lambda: ((part.floats(*r),) for r in _ranges(rows, k))))
        return table.name, ""
    plan.table = "int8"
    table = Slot(f"{name}.table", np.dtype(np.int8), (rows, k))
    scales = Slot(f"{name}.scales", np.dtype(np.float16), (rows, -(-k // BLOCK)))
    plan.items.append(Item((table, scales), lambda: _table_pieces(part, rows, k)))
    return table.name, scales.name


def _ranges(rows: int, k: int) -> Iterator[tuple[int, int]]:
    step = max(1, _TABLE_BYTES // (4 * k))
    return ((begin, min(begin + step, rows)) for begin in range(0, rows, step))


def _table_pieces(part: Part, rows: int, k: int) -> Iterator[tuple[Array, ...]]:
    for begin, end in _ranges(rows, k):
        blocks = part.blocks(begin, end, "int8")
        yield blocks.values[:, :k], blocks.scales


def _add_read_out(
    plan: Plan, source: Source, stream: str, head: tuple[str, str], row_ids: tuple[int, ...]
) -> None:
    part = source.embedding() if source.shape.tied else source.head()
    none = np.empty((0, source.shape.hidden), np.float32)
    rows = [none, *(part.floats(row, row + 1) for row in row_ids)]
    plan.items.append(array_item("read_out.norm.weight", source.final_norm()))
    plan.items.append(array_item("read_out.row_ids", np.array(row_ids, np.int32)))
    plan.items.append(array_item("read_out.rows", np.concatenate(rows)))
    inputs = [stream, "read_out.norm.weight", "read_offsets", "read_ids"]
    inputs += ["read_out.row_ids", "read_out.rows", *head]
    attributes = _norm_attributes(source.shape)
    plan.nodes.append(_node("ReadOut", "read_out", inputs, ("logits", "hidden"), attributes))


def _node(
    op: str, name: str, inputs: list[str], outputs: tuple[str, ...], attributes: dict[str, Any]
) -> Node:
    """A node; inputs that are left out at the end are not written at all."""
    while inputs[-1] == "":
        inputs = inputs[:-1]
    return Node(op, name, tuple(inputs), outputs, attributes)


def _norm_attributes(shape: Shape) -> dict[str, Any]:
    return {"epsilon": shape.epsilon, "offset": shape.architecture.norm_offset}


class _Layer:
    """Builds one layer: `stream` is the residual stream, `value` what a branch hands on.

    Behind the attention of the last layer only the rows that are read go on: the others are needed
    for their keys and values, or their part in a recurrent state, alone.
    """

    def __init__(self, plan: Plan, source: Source, layer: int, stream: str) -> None:
        self.plan, self.source, self.layer = plan, source, layer
        self.stream, self.value, self.aside = stream, "", ""
        self.only_reads = False

    def build(self) -> str:
        """Adds all operations of the layer; returns the name of the stream after it."""
        for operation in self.source.shape.operations(self.layer):
            if isinstance(operation, Norm):
                self._norm(operation)
            elif isinstance(operation, Linear):
                self._linear(operation)
            elif isinstance(operation, Attention):
                self._attention(operation)
            else:
                self._delta(operation)
        if self.last and not self.only_reads:
            self._keep_reads()
        return self.stream

    @property
    def last(self) -> bool:
        return self.layer == self.source.shape.layers - 1

    def _keep_reads(self) -> None:
        """The residual stream becomes [M, hidden], by ONNX's own Gather."""
        self.stream = self._node("Gather", "reads", [self.stream, "reads"], {"axis": 0})
        self.only_reads = True

    def _tensor(self, operation: str, suffix: str) -> str:
        return f"layer{self.layer}.{operation}.{suffix}"

    def _node(self, op: str, name: str, inputs: list[str], attributes: dict[str, Any]) -> str:
        full = f"layer{self.layer}/{name}"  # names the node and its only output
        self.plan.nodes.append(_node(op, full, inputs, (full,), attributes))
        return full

    def _vector(self, operation: str, suffix: str, value: npt.NDArray[np.float32]) -> str:
        name = self._tensor(operation, suffix)
        self.plan.items.append(array_item(name, value))
        return name

    def _norm(self, norm: Norm) -> None:
        weight = self._vector(norm.name, "weight", self.source.norm(self.layer, norm.hf, norm.gguf))
        attributes = _norm_attributes(self.source.shape)
        self.value = self._node("RmsNorm", norm.name, [self.stream, weight], attributes)

    def _linear(self, linear: Linear) -> None:
        matrix = self.source.matrix(self.layer, linear)
        weight, scales = self._add_matrix(linear.name, matrix)
        bias = self.source.bias(self.layer, linear)
        bias_name = "" if bias is None else self._vector(linear.name, "bias", bias)
        residual = self.stream if linear.epilogue == "residual" else ""
        attributes: dict[str, Any] = {"format": matrix.form, "n": matrix.n, "k": matrix.k}
        attributes["epilogue"] = linear.epilogue
        inputs = [self.value, weight, scales, bias_name, residual]
        out = self._node("Linear", linear.name, inputs, attributes)
        self.plan.linear[matrix.form] += 1
        if linear.aside:
            self.aside = out
            return
        if linear.epilogue == "residual":
            self.stream = out
        self.value = out

    def _add_matrix(self, operation: str, matrix: Matrix) -> tuple[str, str]:
        dtypes = {"float32": np.float32, "int8": np.int8, "int4": np.uint8}
        weight = Slot(
            self._tensor(operation, "weight"),
            np.dtype(dtypes[matrix.form]),
            panels.weight_shape(matrix.form, matrix.panels, matrix.k),
        )
        if matrix.form == "float32":
            self.plan.items.append(Item((weight,), lambda: ((w,) for w, _ in matrix.packed())))
            return weight.name, ""
        scales = Slot(
            self._tensor(operation, "scales"),
            np.dtype(np.float16),
            panels.scales_shape(matrix.panels, matrix.k),
        )
        self.plan.items.append(Item((weight, scales), lambda: _quantised(matrix)))
        return weight.name, scales.name

    def _attention(self, attention: Attention) -> None:
        shape = self.source.shape
        norms = ["", ""]
        if shape.architecture.qk_norm:
            for place, names in enumerate((attention.q_norm, attention.k_norm)):
                value = self.source.norm(self.layer, *names)
                suffix = ("q_norm.weight", "k_norm.weight")[place]
                norms[place] = self._vector(attention.name, suffix, value)
        arena = f"kv.{self.plan.attention_layers}"
        inputs = [self.value, "segments", "pages", arena, "kv_half", "rope.inv_freq", *norms]
        if self.last:
            inputs.append("reads")
            self._keep_reads()
        self.value = self._node("Attention", attention.name, inputs, _attention_attributes(shape))
        self.plan.attention_layers += 1

    def _delta(self, delta: DeltaNet) -> None:
        shape, place = self.source.shape, self.plan.delta_layers
        inputs = [self.value, self.aside, "segments", "slots", f"conv.{place}", f"delta.{place}"]
        for vector in delta.vectors:
            value = self.source.vector(self.layer, vector)
            inputs.append(self._vector(delta.name, vector.name, value))
        self.value = self._node("DeltaNet", delta.name, inputs, _delta_attributes(shape))
        self.plan.delta_layers += 1


def _quantised(matrix: Matrix) -> Iterator[tuple[Array, ...]]:
    for weight, scales in matrix.packed():
        assert scales is not None
        yield weight, scales


def _attention_attributes(shape: Shape) -> dict[str, Any]:
    return {
        "heads": shape.heads,
        "kv_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "rotary_dim": shape.rotary_dim,
        "scale": 1.0 / math.sqrt(shape.head_dim),
        "epsilon": shape.epsilon,
        "norm_offset": shape.architecture.norm_offset,
        "gate": int(shape.architecture.output_gate),
    }


def _delta_attributes(shape: Shape) -> dict[str, Any]:
    names = ("k_heads", "v_heads", "k_dim", "v_dim", "conv_width")
    return {name: shape.dimension(name) for name in names} | {"epsilon": shape.epsilon}
