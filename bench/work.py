"""What the operations of a shape have to do: bytes that must come from memory, and operations.

A multiply-add counts as two operations. Rows of a forward pass are taken to stay in the caches.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stepguard.export.architecture import Attention, DeltaNet, Linear
from stepguard.export.shape import Shape
from stepguard.runtime import ACTIVATIONS

BLOCK = 32
PANEL = 16
FORMATS = {"float32": 0, "int8": 1, "int4": 2}
EPILOGUES = {"none": 0, "residual": 1, "swiglu": 2}


@dataclass(frozen=True)
class Work:
    """bytes: from memory. arithmetic: "fp32", "int8" (8 bits by 8), "int16" (16 by 16) or
    "bf16". tiled: whether a table that has tiles multiplies in them."""

    bytes: float
    operations: float
    arithmetic: str
    tiled: bool = False


@dataclass(frozen=True)
class Op:
    """One operation of a shape. name: in the graph. op, sizes: as the core's `measure_op` takes
    them, but for the rows and the context. count: in how many layers."""

    name: str
    op: str
    sizes: dict[str, int] = field(default_factory=dict)
    count: int = 1

    @property
    def has_context(self) -> bool:
        """Whether it depends on how much was read before."""
        return self.op == "attention"

    @property
    def has_activations(self) -> bool:
        """Whether it multiplies weights that are integers, with one kind of activations."""
        return self.op == "linear" and self.sizes["format"] != FORMATS["float32"]

    def work(self, rows: int, context: int, segments: int = 1) -> Work:
        """Of one layer. context: tokens of the path, the rows counted. segments: States written."""
        return _WORK[self.op](self.sizes, rows, context, segments)


def operations_of(
    shape: Shape, *, quant: str = "int4", half: bool = True, activations: str = "int8"
) -> list[Op]:
    """The operations of a forward pass, those of equal layers as one. half: KV pages in fp16.
    activations: beside weights that are integers."""
    counts: dict[str, Op] = {}
    for layer in range(shape.layers):
        for op in _of_layer(shape, layer, _Settings(quant, half, ACTIVATIONS[activations])):
            known = counts.get(op.name)
            counts[op.name] = Op(op.name, op.op, op.sizes, (known.count if known else 0) + 1)
    width = {"width": shape.hidden}
    return [Op("embed", "embed", width), *counts.values(), Op("read out", "read_row", width)]


@dataclass(frozen=True)
class _Settings:
    quant: str
    half: bool
    activations: int


def _of_layer(shape: Shape, layer: int, settings: _Settings) -> list[Op]:
    found: list[Op] = []
    for operation in shape.operations(layer):
        if isinstance(operation, Linear):
            found.append(_linear(shape, operation, settings))
        elif isinstance(operation, Attention):
            heads = {"heads": shape.heads, "kv_heads": shape.kv_heads, "head_dim": shape.head_dim}
            heads["half"] = int(settings.half)
            rotary = {**heads, "rotary_dim": shape.rotary_dim}
            found.append(Op("attention.prepare", "attention_prepare", rotary))
            found.append(Op("attention", "attention", heads))
            if shape.architecture.output_gate:
                found.append(Op("attention.gate", "sigmoid_gate", {"width": shape.query}))
        elif isinstance(operation, DeltaNet):
            delta = shape.delta
            assert delta is not None  # it has such layers
            names = ("k_heads", "v_heads", "k_dim", "v_dim", "conv_width")
            sizes = {name: int(getattr(delta, name)) for name in names}
            found.append(Op("delta.prepare", "delta_prepare", sizes))
            found.append(Op("delta.rule", "delta_rule", sizes))
        else:
            found.append(Op(operation.name, "rms_norm", {"width": shape.hidden}))
    return found


def _linear(shape: Shape, linear: Linear, settings: _Settings) -> Op:
    stored = "float32" if linear.exact else settings.quant
    sizes = {
        "n": sum(shape.dimension(part.rows) for part in linear.parts),
        "k": shape.dimension(linear.parts[0].columns),
        "format": FORMATS[stored],
        "activations": ACTIVATIONS["fp32"] if stored == "float32" else settings.activations,
        "epilogue": EPILOGUES[linear.epilogue],
    }
    return Op(linear.name, "linear", sizes)


def _linear_work(sizes: dict[str, int], rows: int, context: int, segments: int) -> Work:
    n, k, form = sizes["n"], sizes["k"], sizes["format"]
    pair = sizes["epilogue"] == EPILOGUES["swiglu"]
    width = n // 2 if pair else n
    panels = -(-width // PANEL) * (2 if pair else 1)
    blocks = -(-k // BLOCK)
    weights = {0: 4 * k * PANEL, 1: blocks * BLOCK * PANEL, 2: blocks * BLOCK * PANEL // 2}[form]
    scales = 0 if form == 0 else 2 * blocks * PANEL
    integers = {1: "int16", 2: "int8"}.get(form, "fp32")
    kind = ("fp32", integers, "bf16")[sizes["activations"]]
    return Work(panels * (weights + scales), 2 * rows * n * k, kind, tiled=form != 0)


def _attention_work(sizes: dict[str, int], rows: int, context: int, segments: int) -> Work:
    before, width = context - rows, sizes["heads"] * sizes["head_dim"]
    pairs = rows * before + rows * (rows + 1) // 2
    token = 2 * sizes["kv_heads"] * sizes["head_dim"] * (2 if sizes["half"] else 4)
    return Work(-(-context // BLOCK) * BLOCK * token, 4 * pairs * width, "fp32")


def _prepare_work(sizes: dict[str, int], rows: int, context: int, segments: int) -> Work:
    heads = sizes["heads"] + sizes["kv_heads"]
    token = 2 * sizes["kv_heads"] * sizes["head_dim"] * (2 if sizes["half"] else 4)
    return Work(rows * token, 6 * rows * heads * sizes["head_dim"], "fp32")


def _delta_sizes(sizes: dict[str, int]) -> tuple[int, int]:
    """Channels of the convolution, and numbers of a state."""
    values = sizes["v_heads"] * sizes["v_dim"]
    return 2 * sizes["k_heads"] * sizes["k_dim"] + values, values * sizes["k_dim"]


def _delta_prepare_work(sizes: dict[str, int], rows: int, context: int, segments: int) -> Work:
    channels, _ = _delta_sizes(sizes)
    return Work(0, 2 * rows * channels * sizes["conv_width"], "fp32")


def _delta_rule_work(sizes: dict[str, int], rows: int, context: int, segments: int) -> Work:
    # A state is read and another is written; decay, k S, the update and q S are 7 a number.
    _, state = _delta_sizes(sizes)
    return Work(8 * state * segments, 7 * rows * state, "fp32")


def _norm_work(sizes: dict[str, int], rows: int, context: int, segments: int) -> Work:
    return Work(0, 4 * rows * sizes["width"], "fp32")


def _gate_work(sizes: dict[str, int], rows: int, context: int, segments: int) -> Work:
    return Work(0, 2 * rows * sizes["width"], "fp32")


def _table_work(sizes: dict[str, int], rows: int, context: int, segments: int) -> Work:
    width = sizes["width"]
    return Work(rows * (width + 2 * -(-width // BLOCK)), 2 * rows * width, "fp32")


_WORK = {
    "linear": _linear_work,
    "attention": _attention_work,
    "attention_prepare": _prepare_work,
    "delta_prepare": _delta_prepare_work,
    "delta_rule": _delta_rule_work,
    "rms_norm": _norm_work,
    "sigmoid_gate": _gate_work,
    "embed": _table_work,
    "read_row": _table_work,
}
