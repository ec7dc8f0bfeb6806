"""Message lists of every host become the same steps; what is unknown is named, never skipped."""

from __future__ import annotations

from typing import Any

import pytest

from stepguard import Step, Trajectory
from stepguard.errors import TrajectoryError
from stepguard.messages import read_messages
from tests.front.message_lists import (
    AGENTDOG,
    ANTHROPIC,
    CALL,
    CHAT,
    EXPECTED,
    LANGCHAIN,
    RESPONSES,
    dicts,
    texts,
)


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


def test_later_instructions_are_the_users() -> None:
    read = read_messages([{"role": "user", "content": "a"}, {"role": "developer", "content": "b"}])
    assert read.profile == ""
    assert texts(read) == [("user", ["a"]), ("user", ["b"])]
