"""Only what is new of a list is read, and the verdict is that of a fresh read."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepguard import Guard, Reason, Step
from stepguard.conversations import Conversations
from stepguard.errors import TrajectoryError
from stepguard.messages import read_messages
from tests.conftest import shared_path
from tests.front.conversing import agent, call, fresh, result, talk, user
from tests.front.fakes import FakeEngine, make_guard


def as_chat(record: dict[str, Any]) -> list[dict[str, Any]]:
    """A labelled trajectory as a chat with calls."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": record["profile"]}]
    number = 0
    for step in (step for one in record["contents"] for step in one):
        if step["role"] == "user":
            messages.append(user(step["content"]))
        elif step["role"] == "environment":
            messages.append(result(number - 1, step["content"]))
        else:
            try:
                action = json.loads(step["action"] or "null")
            except ValueError:
                action = {"name": "Complete", "arguments": {"text": step["action"]}}
            actions = action if isinstance(action, list) else [action] if action else []
            calls = []
            for one in actions:
                calls.append(call(one["name"], number, **one["arguments"]))
                number += 1
            messages.append(agent(step["thought"], *calls))
    return messages


def long_trajectory(turns: int) -> list[dict[str, Any]]:
    with gzip.open(shared_path("data", "openagentsafety.jsonl.gz")) as file:
        found = (as_chat(json.loads(line)) for line in file)
        return next(messages for messages in found if len(asks(messages)) >= turns)


def asks(messages: list[dict[str, Any]]) -> list[int]:
    """Where an agent acts: the lengths of the lists that a host hands over."""
    return [i + 1 for i, message in enumerate(messages) if message.get("tool_calls")]


def test_a_real_trajectory_is_read_once(guard: Guard, conversations: Conversations) -> None:
    """Every call reads what a session does that is fed step by step."""
    messages = long_trajectory(20)
    ends = asks(messages)
    read = read_messages(messages)
    with guard.session(read.profile, window="window") as session:
        expected = [verdict for step in read.steps if (verdict := session.follow(step)) is not None]
    before = guard.stats()["tokens"]
    verdicts = [conversations.moderate("key", messages[:end]) for end in ends]
    assert len(verdicts) == len(expected) >= 20
    assert [one.margin for one in verdicts] == [one.margin for one in expected]
    assert [one.tokens_read for one in verdicts] == [one.tokens_read for one in expected]
    assert sum(one.tokens_read for one in verdicts) == guard.stats()["tokens"] - before
    assert [one.step for one in verdicts] == [one.step for one in expected]


def test_the_same_list_again_costs_nothing(guard: Guard, conversations: Conversations) -> None:
    first = conversations.moderate("key", talk(3))
    before = guard.stats()["tokens"]
    again = conversations.moderate("key", talk(3))
    assert (again.margin, again.tokens_read) == (first.margin, 0)
    assert guard.stats()["tokens"] == before


def test_an_answer_that_was_none_is_not_remembered(
    conversations: Conversations, engine: FakeEngine
) -> None:
    engine.failures = [{}, {0: "memory"}]
    assert conversations.moderate("key", talk(2)).reason is Reason.MEMORY
    assert conversations.moderate("key", talk(2)).margin == fresh(talk(2)).joint.margin


def test_a_fork_finds_its_parent(guard: Guard, conversations: Conversations) -> None:
    conversations.moderate("parent", talk(10))
    before = guard.stats()["tokens"]
    longer = [*talk(10), result(9, "r"), agent("", call("act", 77))]
    forked = conversations.moderate("child", longer)
    assert guard.stats()["tokens"] - before == forked.tokens_read
    assert forked.tokens_read < 0.3 * fresh(longer).joint.tokens_read
    assert forked.margin == fresh(longer).joint.margin
    assert conversations.moderate("parent", talk(11)).margin == fresh(talk(11)).joint.margin


def test_a_profile_is_read_once(guard: Guard, conversations: Conversations) -> None:
    tools = [{"name": f"tool-{n}", "description": "x" * 50} for n in range(20)]
    first = conversations.moderate("a", [user("x"), agent("", call("f", 1))], tools=tools)
    other = conversations.moderate("b", [user("y"), agent("", call("f", 2))], tools=tools)
    assert first.tokens_read > 1000
    assert other.tokens_read < 0.2 * first.tokens_read
    kept = conversations.moderate("a", [user("x"), agent("", call("f", 3))])
    assert kept.tokens_read < 0.2 * first.tokens_read, "without tools those of before count"


def test_an_edit_falls_back_to_a_border_before_it(conversations: Conversations) -> None:
    for turns in range(1, 9):
        conversations.moderate("key", talk(turns))
    edited = talk(9)
    edited[-4] = result(6, "edited")
    verdict = conversations.moderate("key", edited)
    assert verdict.margin == fresh(edited).joint.margin
    assert verdict.tokens_read < 0.8 * fresh(edited).joint.tokens_read


STATEMENTS = st.one_of(
    st.tuples(st.just("more"), st.integers(1, 3), st.just(0)),
    st.tuples(st.just("edit"), st.integers(0, 30), st.integers(0, 9)),
    st.tuples(st.just("compact"), st.integers(1, 30), st.integers(1, 5)),
    st.tuples(st.just("rewind"), st.integers(1, 30), st.just(0)),
    st.tuples(st.just("fork"), st.integers(0, 3), st.just(0)),
    st.tuples(st.just("turn"), st.integers(0, 3), st.just(0)),
)


@settings(max_examples=20, deadline=None)
@given(st.lists(STATEMENTS, min_size=1, max_size=12))
def test_whatever_a_host_does_verdicts_are_those_of_a_fresh_read(
    moves: list[tuple[str, int, int]],
) -> None:
    """Lists that grow, are edited, compacted, cut and copied."""
    conversations = Conversations(make_guard(FakeEngine()), most=3)
    lists: dict[int, list[Any]] = {0: talk(2)}
    at, count = 0, 100
    for move, number, more in moves:
        messages = list(lists[at])
        place = 1 + number % max(1, len(messages) - 1)
        if move == "more":
            for _ in range(number):
                count += 1
                messages += [agent(f"t{count}", call("act", count)), result(count, f"r{count % 7}")]
        elif move == "edit" and place < len(messages):
            messages[place] = {**messages[place], "content": f"edited {more}"}
        elif move == "compact":
            messages = [messages[0], user(f"Summary {more}"), *messages[place + more :]]
        elif move == "rewind":
            messages = messages[: place + 1]
        elif move == "turn":
            at = number if number in lists else at
            messages = list(lists[at])
        elif move == "fork":
            lists[number] = list(messages)
            at = number
        count += 1
        lists[at] = messages
        if number % 2:  # as most hosts: the call at the end of the list
            messages = [*messages, agent("", call("last", count, n=number))]
            lists[at] = messages
        turn = conversations.check(str(at), messages)
        assert turn.joint.margin == fresh(messages).joint.margin
    conversations.close()


def test_steps_one_by_one(conversations: Conversations) -> None:
    steps = [
        Step.user("x"),
        Step.agent("t", "bad()"),
        Step.environment("no"),
        Step.agent("", "ok()"),
    ]
    for step in steps[:2]:
        conversations.moderate("key", step)
    conversations.decide("key", ran=False)
    conversations.observe("key", steps[2])
    verdict = conversations.moderate("key", steps[3])
    clean = [steps[0], steps[2], steps[3]]
    assert verdict.margin == fresh(clean).joint.margin  # type: ignore[arg-type]


def test_observing_reads_ahead(guard: Guard, conversations: Conversations) -> None:
    conversations.observe("key", talk(10)[:-1])
    verdict = conversations.moderate("key", talk(10))
    assert conversations.moderate("key", talk(10)).tokens_read == 0
    assert verdict.margin == fresh(talk(10)).joint.margin


def test_images_lower_the_coverage_and_block_nothing_for_ever(conversations: Conversations) -> None:
    image = {"type": "image_url", "image_url": {"url": "x"}}
    messages = [{"role": "user", "content": [image]}, agent("", call("f", 1))]
    verdict = conversations.moderate("key", messages)
    assert verdict.reason is None
    assert verdict.coverage < 1
    assert verdict.unreadable == 1
    messages[1]["content"] = [image]
    verdict = conversations.moderate("key", messages)
    assert verdict.reason is None
    assert verdict.unreadable == 2


def test_a_malformed_list_leaves_the_conversation_as_it_is(conversations: Conversations) -> None:
    conversations.moderate("key", talk(2))
    with pytest.raises(TrajectoryError, match=r"messages\[1\]"):
        conversations.moderate("key", [user("x"), {"odd": 1}])
    assert conversations.moderate("key", talk(3)).margin == fresh(talk(3)).joint.margin


@pytest.mark.parametrize("shape", ["attention", "hybrid"])
def test_bits_on_a_real_engine(small_guards: dict[str, Any], shape: str) -> None:
    """Grown, edited, forked: the same margin as a fresh read, to the bit."""
    grown, edited = talk(5), talk(5)
    edited[5] = result(1, "something else")
    with Guard.load(small_guards[shape], save_prefix=False, threads=1) as guard:
        conversations = Conversations(guard)
        for turns in range(1, 5):
            conversations.moderate("key", talk(turns))
        found = [conversations.moderate(*one) for one in (("key", grown), ("fork", edited))]
        found.append(conversations.moderate("key", edited))
        found.append(conversations.moderate("key", grown))
        tokens = [one.tokens_read for one in found]
        for verdict, messages in zip(found, (grown, edited, edited, grown), strict=True):
            with Conversations(guard) as alone:
                expected = alone.moderate("fresh", messages)
            assert verdict.margin == expected.margin
            assert verdict.margin is not None
        assert tokens[0] < expected.tokens_read / 2
