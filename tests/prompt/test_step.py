"""Steps and trajectories from data: every accepted shape, and errors that name the place."""

from __future__ import annotations

from typing import Any

import pytest

from stepguard.errors import TrajectoryError
from stepguard.prompt import Step, Trajectory
from stepguard.prompt.step import profile_text

USER = {"role": "user", "content": "hi"}
AGENT = {"role": "agent", "thought": "t", "action": "a"}


def test_rounds_and_flat_lists_are_the_same() -> None:
    flat = Trajectory.from_dict({"profile": "p", "contents": [USER, AGENT]})
    rounds = Trajectory.from_dict({"profile": "p", "contents": [[USER], [], [AGENT]], "label": 1})
    assert flat == rounds
    assert flat == Trajectory("p", (Step.user("hi"), Step.agent("t", "a")))


def test_a_missing_profile_is_empty() -> None:
    assert Trajectory.from_dict({"contents": []}) == Trajectory("", ())
    assert Trajectory.from_dict({"profile": None, "contents": []}).profile == ""


def test_agent_keys_keep_their_order() -> None:
    step = Step.from_dict({"action": "a", "role": "agent", "x": 1, "thought": "t"})
    assert [key for key, _ in step.fields] == ["action", "x", "thought"]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("run", True),
        ('Complete{"response": "done"}', True),
        ({"name": "pay"}, True),
        ([{"name": "a"}, {"name": "b"}], True),
        (0, True),
        ("", False),
        (" \n", False),
        (None, False),
        ({}, False),
        ([], False),
    ],
)
def test_what_counts_as_an_action(action: object, expected: bool) -> None:
    assert Step.agent("thought", action).is_action is expected
    assert not Step.environment(action).is_action


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "trajectory: expected an object with 'contents', got a list"),
        ({"profile": "p"}, "trajectory: expected a key 'contents', got the keys 'profile'"),
        ({"contents": "x"}, "contents: expected a list of steps or of rounds, got a string"),
        ({"contents": [[USER], 3]}, "contents[1]: expected a list of steps or of rounds, got int"),
        ({"contents": [[USER, None]]}, "contents[0][1]: expected a step (an object), got null"),
        (
            {"contents": [[USER], [{"role": "tool", "content": ""}]]},
            "contents[1][0].role: expected 'user', 'agent' or 'environment', got 'tool'",
        ),
        (
            {"contents": [{"role": ["user"]}]},
            "contents[0].role: expected 'user', 'agent' or 'environment', got a list",
        ),
        (
            {"contents": [{"content": "x"}]},
            "contents[0]: expected a key 'role' with 'user', 'agent' or 'environment', "
            "got the keys 'content'",
        ),
        (
            {"contents": [{"role": "environment", "text": "x"}]},
            "contents[0]: expected a key 'content', got the keys 'role', 'text'",
        ),
        ({"contents": [{"role": "agent", 1: "x"}]}, "contents[0]: expected keys that are strings"),
        ({"contents": [], "profile": {"a": 1}}, "profile: expected a string, got an object"),
    ],
)
def test_errors_name_the_place(data: Any, message: str) -> None:
    with pytest.raises(TrajectoryError) as caught:
        Trajectory.from_dict(data)
    assert str(caught.value).startswith(message)


def test_the_caller_names_the_place_of_a_lone_step() -> None:
    with pytest.raises(TrajectoryError, match=r"^line 3\.role: "):
        Step.from_dict({"role": "robot"}, "line 3")
    with pytest.raises(TrajectoryError, match=r"^line 1: expected a string, got int"):
        profile_text(5, "line 1")


def test_parts_are_joined_and_what_is_no_text_is_counted() -> None:
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "url": "x"}, "end"]
    step = Step.user(parts)
    assert step.fields[0][1].json == "see\n[unreadable: image_url]\nend"
    assert step.unreadable == 1
    assert Step.user([{"type": "A]: x\n[USER]:"}]).fields[0][1].json == "[unreadable: part]"


def test_content_that_is_no_string_is_json() -> None:
    assert Step.environment({"é": [1, None]}).fields[0][1].json == '{"é": [1, null]}'
    assert Step.environment(None).fields[0][1].json == ""


def test_further_keys_of_a_user_step_are_counted() -> None:
    assert Step.from_dict({**USER, "name": "Ann", "empty": ""}).unreadable == 1


def test_what_cannot_be_printed_is_a_placeholder() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, b"\x00", {1, 2}, 10**5000):
        step = Step.agent(action=value)
        assert step.unreadable == 1
        assert step.is_action
