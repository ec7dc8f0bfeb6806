"""What came back at a point of Agent Hooks is in the conversation, whatever it is."""

from __future__ import annotations

from typing import Any

import pytest

from stepguard.integrations.points import Points
from stepguard.messages import read_messages


class _Broken:
    def __str__(self) -> str:
        raise RuntimeError("planted")


def _endless() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["self"] = found
    return found


CALL = {"id": "c1", "name": "f", "args": {}}


@pytest.mark.parametrize("value", [{("a", 1): 2}, _endless(), _Broken(), {"x": _Broken()}])
@pytest.mark.parametrize("point", ["post_tool_call", "pre_model_call"])
def test_a_result_that_cannot_be_printed_is_not_lost(value: object, point: str) -> None:
    points = Points()
    result = {"type": "function_result", "call_id": "c1", "result": value}
    contexts = {
        "post_tool_call": {"sequence": 1, "tool_call": CALL, "tool_result": {"value": value}},
        "pre_model_call": {"sequence": 1, "messages": [{"role": "tool", "content": [result]}]},
    }
    points.add(point, contexts[point])
    read = read_messages(points.messages)
    assert [step.role for step in read.steps] == ["environment"]
    assert read.steps[0].unreadable == 1
    assert read.uncovered


def test_other_results_are_printed() -> None:
    points = Points()
    context = {"sequence": 1, "tool_call": CALL, "tool_result": {"value": {"a": [1]}}}
    points.add("post_tool_call", context)
    (step,) = read_messages(points.messages).steps
    assert (step.fields[0][1].json, step.unreadable) == ('{"a": [1]}', 0)
