"""Calls of tools in every shape are read once, and tools are lines of the profile."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from stepguard import Step
from stepguard.errors import TrajectoryError
from stepguard.messages import calls_of, read_call, read_messages, tools_text
from tests.front.message_lists import CALL, CHAT, LANGCHAIN_CALLS, LOOK, texts


def test_tools_of_a_provider_are_calls_with_results() -> None:
    read = read_messages(
        [
            {"type": "web_search_call", "id": "w", "status": "completed", "action": {"query": "q"}},
            {
                "type": "mcp_call",
                "id": "m",
                "name": "look",
                "server_label": "s",
                "arguments": '{"a": 1}',
                "output": "found",
            },
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        ]
    )
    assert texts(read) == [
        (
            "agent",
            [
                '[{"name": "web_search", "arguments": {"action": {"query": "q"}}}, '
                '{"name": "look", "arguments": {"a": 1}}]'
            ],
        ),
        ("environment", ["found"]),
        ("agent", ['{"name": "f", "arguments": {}}']),
    ]


def test_a_call_that_langchain_has_twice_is_one() -> None:
    block = {"type": "tool_use", "id": "c1", "name": "ls", "input": {}}
    message = {"type": "ai", "content": [block], "tool_calls": [LANGCHAIN_CALLS[0]]}
    assert len(read_messages([message]).entries[0].calls) == 1
    other = {**block, "input": {"hidden": "x"}}
    message = {"type": "ai", "content": [other], "tool_calls": [LANGCHAIN_CALLS[0]]}
    assert len(read_messages([message]).entries[0].calls) == 2, "another call under one id"


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": 1} x',
        "{'a': 1}",
        '"text"',
        "",
        "[" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
    ],
)
def test_arguments_that_are_no_strict_json_stay_text(text: str) -> None:
    call = read_call({"name": "f", "arguments": text})
    assert call.arguments == text
    assert json.loads(call.text) == {"name": "f", "arguments": text}


def test_calls_of_labelled_actions() -> None:
    for action, names in {
        '{"name": "ls", "arguments": {}}': ["ls"],
        f"[{LOOK}, {CALL}]": ["ls", "rm"],
        'Complete{"response": "x"}': ["Complete"],
        "send_mail(to='x')": ["send_mail"],
        "look around": [""],
    }.items():
        assert [call.name for call in calls_of(Step.agent("", action))] == names
    assert calls_of(Step.agent("only talk")) == ()


def test_tools_of_every_shape_are_lines_of_the_profile() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string"}}}
    line = json.dumps({"name": "f", "description": "does", "parameters": schema})
    about = {"name": "f", "description": "does"}
    given = [
        {"type": "function", "function": {**about, "parameters": schema}},
        {"type": "function", **about, "parameters": schema, "strict": True},
        {**about, "input_schema": schema},
        SimpleNamespace(**about, params_json_schema=schema),
        SimpleNamespace(**about, inputSchema=schema),
    ]
    assert tools_text(given).split("\n") == ["Available tools:", *[line] * 5]
    assert tools_text([{"type": "web_search"}]).endswith('{"type": "web_search"}')
    assert tools_text(["ls"]).endswith('{"name": "ls"}')
    assert tools_text(None) == tools_text([]) == ""
    assert read_messages(CHAT, tools=["ls"]).profile.startswith("Be good.\n\nAvailable tools:\n")
    with pytest.raises(TrajectoryError, match=r"tools\[0\]"):
        tools_text([{"description": "nameless"}])
