"""Each call of a turn gets the worse verdict, and what did not run is left out of what comes."""

from __future__ import annotations

import pytest

from stepguard import Guard
from stepguard.conversations import Conversations
from stepguard.errors import TrajectoryError
from stepguard.taxonomy import worse
from tests.front.conversing import agent, call, fresh, result, user
from tests.front.fakes import FakeEngine


def test_calls_of_one_turn_get_the_worse_of_their_own_and_the_joint_one(
    conversations: Conversations, engine: FakeEngine
) -> None:
    calls = [call("one", 1), call("two", 2), call("three", 3)]
    turn = conversations.check("key", [user("x"), agent("t", *calls)])
    alone = [fresh([user("x"), agent("t", one)]).joint for one in calls]
    assert len(turn.calls) == 3
    for verdict, own in zip(turn.calls, alone, strict=True):
        assert verdict.margin == worse(turn.joint, own).margin
    assert len({one.margin for one in (turn.joint, *alone)}) == 4
    whole = conversations.moderate("key", [user("x"), agent("t", *calls)])
    assert whole.margin == max(turn.calls, key=lambda one: one.margin or 0).margin


def test_a_host_that_asks_call_by_call(guard: Guard, conversations: Conversations) -> None:
    calls = [call("one", 1), call("two", 2)]
    messages = [user("x"), agent("t", *calls)]
    turn = fresh(messages)
    first = conversations.check("key", messages, [calls[0]])
    before = guard.stats()["tokens"]
    second = conversations.check("key", [*messages, result(1, "done")], [calls[1]])
    assert guard.stats()["tokens"] == before, "the turn was judged as a whole"
    assert [first.calls[0].margin, second.calls[0].margin] == [one.margin for one in turn.calls]
    third = conversations.check("key", [*messages, result(1, "done")], [calls[0]])
    assert third.joint.margin != turn.joint.margin, "the same call again, after its result, is new"


def test_calls_that_are_not_in_the_list(conversations: Conversations) -> None:
    given = {"name": "rm", "args": {"x": 1}, "id": "z"}
    turn = conversations.check("key", [user("x")], [given])
    expected = fresh([user("x"), agent("", call("rm", 0, x=1))])
    assert turn.joint.margin == expected.joint.margin


def test_a_blocked_call_poisons_nothing(conversations: Conversations) -> None:
    bad, good = call("bad", 1), call("good", 2)
    start = [user("x"), agent("I do harm.", bad)]
    conversations.check("key", start)
    conversations.decide("key", ran=False)
    told = [*start, result(1, "Blocked."), agent("t", good)]
    clean = [user("x"), result(1, "Blocked."), agent("t", good)]
    assert conversations.moderate("key", told).margin == fresh(clean).joint.margin
    edited = [user("compacted"), *told[1:]]
    without = [user("compacted"), *clean[1:]]
    assert conversations.moderate("key", edited).margin == fresh(without).joint.margin
    assert conversations.moderate("copy", told).margin == fresh(clean).joint.margin, "a fork knows"
    other = Conversations(conversations.guard)
    assert other.moderate("key", told).margin == fresh(told).joint.margin


def test_one_of_two_calls_was_blocked(conversations: Conversations) -> None:
    bad, good, last = call("bad", 1), call("good", 2), call("last", 3)
    start = [user("x"), agent("t", bad, good)]
    conversations.check("key", start)
    conversations.decide("key", [bad], ran=False)
    told = [*start, result(1, "Blocked."), result(2, "fine"), agent("", last)]
    clean = [user("x"), agent("t", good), result(1, "Blocked."), result(2, "fine"), agent("", last)]
    assert conversations.moderate("key", told).margin == fresh(clean).joint.margin


def test_a_blocked_call_that_is_asked_about_again_counts(conversations: Conversations) -> None:
    start = [user("x"), agent("t", call("f", 1))]
    conversations.check("key", start)
    conversations.decide("key", ran=False)
    assert conversations.moderate("key", start).margin == fresh(start).joint.margin
    longer = [*start, result(1, "ran"), agent("", call("g", 2))]
    assert conversations.moderate("key", longer).margin == fresh(longer).joint.margin


def test_what_ran_after_all_counts(conversations: Conversations) -> None:
    start = [user("x"), agent("t", call("f", 1))]
    conversations.check("key", start)
    conversations.decide("key", ran=False)
    conversations.decide("key", [call("f", 1)], ran=True)
    longer = [*start, result(1, "ran"), agent("", call("g", 2))]
    assert conversations.moderate("key", longer).margin == fresh(longer).joint.margin
    with pytest.raises(TrajectoryError, match="a call of a turn"):
        conversations.decide("key", [call("never", 9)], ran=False)
