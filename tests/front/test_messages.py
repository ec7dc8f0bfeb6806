"""Message lists of every host become the same steps; what is unknown is named, never skipped."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from stepguard import Step, Trajectory
from stepguard.errors import TrajectoryError
from stepguard.messages import Transcript, calls_of, read_call, read_messages, tools_text

ARGUMENTS = {"path": "/a", "deep": [1, {"é": None}]}
CALL = '{"name": "rm", "arguments": {"path": "/a", "deep": [1, {"é": null}]}}'
LOOK = '{"name": "ls", "arguments": {}}'

CHAT = [
    {"role": "system", "content": "Be good."},
    {"role": "user", "content": [{"type": "text", "text": "Clean up."}]},
    {
        "role": "assistant",
        "content": "I will.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "ls", "arguments": "{}"}},
            {
                "id": "c2",
                "type": "function",
                "function": {"name": "rm", "arguments": json.dumps(ARGUMENTS)},
            },
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "a b"},
    {"role": "tool", "tool_call_id": "c2", "content": "gone"},
    {"role": "assistant", "content": "Done."},
]
ANTHROPIC = {
    "system": "Be good.",
    "messages": [
        {"role": "user", "content": "Clean up."},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I will."},
                {"type": "tool_use", "id": "c1", "name": "ls", "input": {}},
                {"type": "tool_use", "id": "c2", "name": "rm", "input": ARGUMENTS},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "a b"},
                {
                    "type": "tool_result",
                    "tool_use_id": "c2",
                    "content": [{"type": "text", "text": "gone"}],
                },
            ],
        },
        {"role": "assistant", "content": "Done."},
    ],
}
RESPONSES = {
    "instructions": "Be good.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Clean up."}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I will.", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c1", "name": "ls", "arguments": "{}"},
        {
            "type": "function_call",
            "call_id": "c2",
            "name": "rm",
            "arguments": json.dumps(ARGUMENTS),
        },
        {"type": "function_call_output", "call_id": "c1", "output": "a b"},
        {"type": "function_call_output", "call_id": "c2", "output": "gone"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Done."}],
        },
    ],
}
_LANGCHAIN_CALLS = [
    {"name": "ls", "args": {}, "id": "c1", "type": "tool_call"},
    {"name": "rm", "args": ARGUMENTS, "id": "c2", "type": "tool_call"},
]
LANGCHAIN = [
    {"type": "system", "content": "Be good."},
    {"type": "human", "content": "Clean up."},
    {"type": "ai", "content": "I will.", "tool_calls": _LANGCHAIN_CALLS, "additional_kwargs": {}},
    {"type": "tool", "content": "a b", "tool_call_id": "c1"},
    {"type": "tool", "content": "gone", "tool_call_id": "c2", "status": "success"},
    {"type": "AIMessageChunk", "content": "Done."},
]
AGENTDOG = {
    "profile": "Be good.",
    "contents": [
        [
            {"role": "user", "content": "Clean up."},
            {"role": "agent", "thought": "I will.", "action": f"[{LOOK}, {CALL}]"},
            {"role": "environment", "content": "a b"},
            {"role": "environment", "content": "gone"},
            {"role": "agent", "thought": "Done.", "action": ""},
        ]
    ],
}


def dicts(form: str) -> list[Any]:
    """LangChain's other forms."""
    if form == "data":
        return [
            {"type": m["type"], "data": {k: v for k, v in m.items() if k != "type"}}
            for m in LANGCHAIN
        ]
    if form == "lc":
        names = {"system": "SystemMessage", "human": "HumanMessage", "ai": "AIMessage"}
        names |= {"tool": "ToolMessage", "AIMessageChunk": "AIMessageChunk"}
        return [
            {
                "lc": 1,
                "type": "constructor",
                "id": ["langchain", "schema", "messages", names[str(m["type"])]],
                "kwargs": m,
            }
            for m in LANGCHAIN
        ]
    return [SimpleNamespace(**m) for m in LANGCHAIN]


def texts(read: Transcript) -> list[tuple[str, list[str]]]:
    return [(s.role, [text.json for _, text in s.fields if text.json]) for s in read.steps]


EXPECTED = [
    ("user", ["Clean up."]),
    ("agent", ["I will.", f"[{LOOK}, {CALL}]"]),
    ("environment", ["a b"]),
    ("environment", ["gone"]),
    ("agent", ["Done."]),
]


@pytest.mark.parametrize(
    "given",
    [CHAT, ANTHROPIC, RESPONSES, LANGCHAIN, dicts("data"), dicts("lc"), dicts("object"), AGENTDOG],
    ids=["chat", "anthropic", "responses", "langchain", "data", "lc", "objects", "agentdog"],
)
def test_every_shape_gives_the_same_steps(given: Any) -> None:
    read = read_messages(given)
    assert read.profile == "Be good."
    assert texts(read) == EXPECTED
    assert read.uncovered == ()
    assert [call.name for call in read.entries[1].calls] == ["ls", "rm"]
    assert read.entries[1].calls[1].text == CALL
    if given is not AGENTDOG:
        assert [call.id for call in read.entries[1].calls] == ["c1", "c2"]
        assert [entry.answers for entry in read.entries[2:4]] == ["c1", "c2"]


def test_steps_and_trajectories_are_taken_as_they_are() -> None:
    steps = (Step.user("x"), Step.agent("t", "send(1)"))
    for given in (steps, Trajectory("", steps)):
        assert read_messages(given).steps == steps
    assert read_messages("hello").steps == (Step.user("hello"),)


@pytest.mark.parametrize(
    ("given", "where", "expected"),
    [
        (
            [{"role": "user", "content": "x"}, {"role": "wizard", "content": "x"}],
            "messages[1].role",
            "'user'",
        ),
        ([{"text": "x"}], "messages[0]", "a message with a role"),
        ([{"type": "magic", "x": 1}], "messages[0]", "an item of Responses"),
        ([17], "messages[0]", "a message"),
        ([{"role": "user"}], "messages[0]", "a key 'content'"),
        ([{"role": "user", "content": 3}], "messages[0].content", "text, a list of parts"),
        ([{"role": "user", "content": ["a", 3]}], "messages[0].content[1]", "a part"),
        (
            [{"role": "assistant", "tool_calls": [{"id": "x"}]}],
            "messages[0].tool_calls[0]",
            "a tool call",
        ),
        ([{"role": "assistant", "tool_calls": 3}], "messages[0].tool_calls", "a list"),
        ([{"type": "function_call", "call_id": "x"}], "messages[0]", "a tool call"),
        ([{"type": "message", "content": "x"}], "messages[0]", "'role'"),
        ([{"type": "remove", "content": "", "id": "x"}], "messages[0]", "a LangChain message"),
        ({"prompt": "x"}, "messages", "a list of messages"),
        (7, "messages", "a list of messages"),
        ({"contents": 7}, "contents", "a list"),
    ],
)
def test_unknown_shapes_are_named(given: Any, where: str, expected: str) -> None:
    with pytest.raises(TrajectoryError) as caught:
        read_messages(given)
    assert caught.value.where == where
    assert expected in caught.value.expected


def test_what_has_no_text_is_listed_and_counted() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:x"}}
    read = read_messages(
        [
            {"role": "user", "content": [{"type": "text", "text": "See"}, image]},
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "Hm"}, {"type": "novelty", "x": 1}],
                "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "content": [image], "tool_call_id": "1", "surprise": "x"},
        ]
    )
    places = [(one.place, one.kind) for one in read.uncovered]
    assert places == [
        ("messages[0].content[1]", "image_url"),
        ("messages[1].content[1]", "novelty"),
        ("messages[2].surprise", "part"),
        ("messages[2].content[0]", "image_url"),
    ]
    assert [step.unreadable for step in read.steps] == [1, 1, 0, 2]
    assert read.steps[2].is_action, "an action is whole: what has no text stands before it"


def test_hidden_reasoning_is_listed_but_not_counted() -> None:
    read = read_messages(
        [
            {"role": "user", "content": "x"},
            {
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "I think."}],
                "encrypted_content": "gAAAA",
            },
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        ]
    )
    assert texts(read)[1] == ("agent", ["I think.", '{"name": "f", "arguments": {}}'])
    assert [(one.kind, one.counted) for one in read.uncovered] == [("hidden reasoning", False)]
    assert sum(step.unreadable for step in read.steps) == 0


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
    message = {"type": "ai", "content": [block], "tool_calls": [_LANGCHAIN_CALLS[0]]}
    assert len(read_messages([message]).entries[0].calls) == 1
    other = {**block, "input": {"hidden": "x"}}
    message = {"type": "ai", "content": [other], "tool_calls": [_LANGCHAIN_CALLS[0]]}
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


def test_later_instructions_are_the_users() -> None:
    read = read_messages([{"role": "user", "content": "a"}, {"role": "developer", "content": "b"}])
    assert read.profile == ""
    assert texts(read) == [("user", ["a"]), ("user", ["b"])]


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
