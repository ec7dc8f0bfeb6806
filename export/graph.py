"""model.onnx: the planned nodes with their weights as external data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._need import need
from .plan import Node, Plan

DOMAIN = "stepguard"
WEIGHTS = "weights.bin"
_OPSET, _IR = 21, 10
_STANDARD = {"Gather"}  # operations of ONNX itself


def build_model(plan: Plan, offsets: Mapping[str, int]) -> Any:
    """The onnx.ModelProto of a plan; `offsets` are the places of the tensors in weights.bin."""
    helper = need("onnx.helper")
    graph = helper.make_graph(
        [_node(helper, node) for node in plan.nodes],
        "stepguard",
        _inputs(helper, plan),
        _outputs(helper, plan),
        initializer=_initializers(plan, offsets),
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="stepguard")


def _node(helper: Any, node: Node) -> Any:
    return helper.make_node(
        node.op,
        node.inputs,
        node.outputs,
        name=node.name,
        domain="" if node.op in _STANDARD else DOMAIN,
        **node.attributes,
    )


def _inputs(helper: Any, plan: Plan) -> list[Any]:
    types = need("onnx").TensorProto
    sizes: dict[str, list[str | int]] = {
        "ids": ["T"],
        "segments": ["S", 8],
        "pages": ["G"],
        "reads": ["M"],
        "read_offsets": ["M1"],
        "read_ids": ["R"],
        "kv_half": [1],
    }
    inputs = [helper.make_tensor_value_info(n, types.INT32, dims) for n, dims in sizes.items()]
    if plan.writes:
        inputs.append(helper.make_tensor_value_info("nexts", types.INT32, ["N"]))
    if plan.delta_layers:
        inputs.append(helper.make_tensor_value_info("slots", types.INT32, ["S", 2]))
    pages = ["arena", "page_bytes"]
    arenas = [(f"kv.{i}", types.UINT8, pages) for i in range(plan.attention_layers)]
    for i in range(plan.delta_layers):
        arenas.append((f"conv.{i}", types.FLOAT, ["slot", "conv_floats"]))
        arenas.append((f"delta.{i}", types.FLOAT, ["slot", "delta_floats"]))
    return inputs + [helper.make_tensor_value_info(*arena) for arena in arenas]


def _outputs(helper: Any, plan: Plan) -> list[Any]:
    types = need("onnx").TensorProto
    outputs = [
        helper.make_tensor_value_info("logits", types.FLOAT, ["R"]),
        helper.make_tensor_value_info("hidden", types.FLOAT, ["M", plan.shape.hidden]),
    ]
    if plan.writes:
        outputs.append(helper.make_tensor_value_info("next_ids", types.INT32, ["N"]))
        outputs.append(helper.make_tensor_value_info("next_scores", types.FLOAT, ["N"]))
    return outputs


def _initializers(plan: Plan, offsets: Mapping[str, int]) -> list[Any]:
    onnx = need("onnx")
    types = onnx.TensorProto
    kinds = {
        np.dtype(np.float32): types.FLOAT,
        np.dtype(np.float16): types.FLOAT16,
        np.dtype(np.int8): types.INT8,
        np.dtype(np.uint8): types.UINT8,
        np.dtype(np.int32): types.INT32,
    }
    tensors = []
    for slot in (slot for item in plan.items for slot in item.slots):
        tensor = onnx.TensorProto(name=slot.name, data_type=kinds[slot.dtype], dims=slot.shape)
        tensor.data_location = types.EXTERNAL
        places = {"location": WEIGHTS, "offset": offsets[slot.name], "length": slot.nbytes}
        for key, value in places.items():
            tensor.external_data.add(key=key, value=str(value))
        tensors.append(tensor)
    return tensors
