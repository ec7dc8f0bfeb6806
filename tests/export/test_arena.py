"""Graphs whose arena order ONNX Runtime would not keep are refused."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import TensorProto, helper

from stepguard.errors import ExportError
from stepguard.export import check_arena_order
from stepguard.export.arena import check_graph


def graph(*nodes: tuple[str, list[str], list[str]], outputs: tuple[str, ...] = ()) -> Any:
    """A model of nodes (name, inputs, outputs) with the inputs x, kv.0 and kv.1."""
    inputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n"]) for n in ("x", "kv.0", "kv.1")
    ]
    made = [helper.make_node("Op", i, o, name=name, domain="stepguard") for name, i, o in nodes]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n"]) for n in outputs]
    return helper.make_model(helper.make_graph(made, "g", inputs, ends))


def test_a_chain_is_in_order() -> None:
    check_arena_order(
        graph(("a", ["x", "kv.0"], ["1"]), ("b", ["1"], ["2"]), ("c", ["2", "kv.0"], ["3"]))
    )


def test_regions_of_their_own_need_no_order() -> None:
    check_arena_order(graph(("a", ["x", "kv.0"], ["1"]), ("b", ["x", "kv.1"], ["2"])))


def test_siblings_on_one_region_are_refused() -> None:
    faulty = graph(
        ("a", ["x", "kv.0"], ["1"]), ("b", ["x", "kv.0"], ["2"]), ("c", ["1", "2"], ["3"])
    )
    with pytest.raises(ExportError, match=r"graph: kv\.0.*none between a and b"):
        check_arena_order(faulty)


def test_an_edge_alone_puts_them_in_order() -> None:
    check_arena_order(graph(("a", ["x", "kv.0"], ["1"]), ("b", ["x", "kv.0", "1"], ["2"])))


def test_a_common_successor_is_no_order() -> None:
    faulty = graph(
        ("s", ["x"], ["0"]),
        ("a", ["0", "kv.1"], ["1"]),
        ("b", ["0", "kv.0"], ["2"]),
        ("c", ["1", "kv.0"], ["3"]),
    )
    with pytest.raises(ExportError, match="between b and c"):
        check_arena_order(faulty)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([("a", ["x"], ["1"]), ("b", ["x"], ["1"])], "made twice.*1"),
        ([("a", ["y"], ["1"])], "nothing makes.*y"),
        ([("a", ["x"], ["1"]), ("a", ["1"], ["2"])], "name of their own.*a"),
        ([("a", ["2"], ["1"]), ("b", ["x"], ["2"])], "a too early"),
    ],
)
def test_broken_graphs(nodes: list[tuple[str, list[str], list[str]]], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        check_graph(graph(*nodes))


def test_weights_that_nothing_reads() -> None:
    model = graph(("a", ["x"], ["1"]), outputs=("1",))
    model.graph.initializer.append(helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0]))
    with pytest.raises(ExportError, match=r"nothing reads.*w"):
        check_graph(model)
