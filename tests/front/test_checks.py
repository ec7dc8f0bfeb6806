"""Checks come before a decision: what was rejected has never been, what was committed is read."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from stepguard import Guard, Reason, Status, Step
from stepguard.errors import VerdictError
from stepguard.session import Session
from tests.front.fakes import FakeEngine, make_guard
from tests.front.played import PROFILE, STEPS, expected_margin

BAD = Step.agent(thought="No.", action='{"name": "rm -rf"}')


@pytest.fixture
def session(guard: Guard) -> Session:
    session = guard.session(PROFILE)
    session.observe(STEPS[0])
    return session


def read(engine: FakeEngine) -> float:
    return engine.stats()["tokens"]


def test_a_rejected_step_has_never_been(session: Session) -> None:
    verdict = session.check(BAD)
    assert verdict.margin == expected_margin((STEPS[0], BAD))
    session.reject(verdict)
    assert session.push(STEPS[1]).margin == expected_margin(STEPS[:2])


def test_a_committed_step_is_not_read_again(session: Session, engine: FakeEngine) -> None:
    verdict = session.check(STEPS[1])
    before = read(engine)
    session.commit(verdict)
    again = session.judge()
    assert again.margin == verdict.margin == expected_margin(STEPS[:2])
    assert read(engine) - before == len(engine.calls[-1][-1].tokens)  # the question


def test_a_step_that_was_pushed_last_can_be_taken_back(session: Session) -> None:
    session.reject(session.push(BAD), note="It was blocked.")
    told = Step.environment("It was blocked.")
    assert session.judge().margin == expected_margin((STEPS[0], told))


def test_many_checks_on_one_place(session: Session) -> None:
    one, other = session.check(BAD), session.check(STEPS[1])
    session.commit(other)
    for decide in (session.commit, session.reject):
        with pytest.raises(VerdictError, match="open check"):
            decide(one)
    with pytest.raises(VerdictError):
        session.commit(other)
    assert session.judge().margin == expected_margin(STEPS[:2])


def test_a_check_of_another_session(guard: Guard, session: Session) -> None:
    verdict = guard.session(PROFILE).check(STEPS[1])
    with pytest.raises(VerdictError):
        session.commit(verdict)


def test_a_commit_of_what_could_not_be_read_owes_it(session: Session, engine: FakeEngine) -> None:
    engine.failures = [{0: "memory"}]
    verdict = session.check(STEPS[1])
    assert verdict.reason is Reason.MEMORY
    session.commit(verdict)
    assert session.judge().margin == expected_margin(STEPS[:2])


def test_a_peek_keeps_nothing(session: Session, engine: FakeEngine) -> None:
    partial = Step.agent(thought="Now I")
    assert session.peek(partial).margin == expected_margin((STEPS[0], partial))
    assert not any(segment.keep for segment in engine.calls[-1])
    assert session.judge().margin == expected_margin(STEPS[:1])


def test_a_fork_of_a_fork(session: Session, engine: FakeEngine) -> None:
    before = read(engine)
    first = session.fork()
    second = first.fork()
    assert read(engine) == before
    assert first.push(BAD).margin == expected_margin((STEPS[0], BAD))
    assert second.push(STEPS[1]).margin == expected_margin(STEPS[:2])
    session.close()
    assert second.judge().margin == expected_margin(STEPS[:2])


def test_calls_of_one_turn(session: Session, engine: FakeEngine) -> None:
    turn = session.check_turn("Both.", ["ls", "rm"])
    assert len(engine.calls[-1]) == 6  # the joint step and two alone, a question behind each
    alone = [expected_margin((STEPS[0], Step.agent("Both.", call))) for call in ("ls", "rm")]
    joint = expected_margin((STEPS[0], Step.agent("Both.", "ls\nrm")))
    assert turn.joint.margin == joint
    assert [call.margin for call in turn.calls] == [max(joint, one) for one in alone]
    assert turn.allowed == all(call.status is Status.SAFE for call in turn.calls)
    with pytest.raises(TypeError):
        bool(turn)
    for call in turn.calls:
        with pytest.raises(VerdictError):
            session.commit(call)
    session.commit(turn.joint)
    assert session.judge().margin == joint
    with pytest.raises(ValueError, match="at least one"):
        session.check_turn("", [])


def test_a_turn_of_one_call(session: Session, engine: FakeEngine) -> None:
    turn = session.check_turn("One.", ["ls"])
    assert len(engine.calls[-1]) == 2
    (call,) = turn.calls
    assert call == turn.joint
    with pytest.raises(VerdictError):
        session.commit(call)
    session.commit(turn.joint)


def test_follow_asks_where_it_is_wanted(guard: Guard) -> None:
    talk = Step.agent(thought="Only talk.")
    for at, expected in (("actions", [0, 0, 1]), ("agent", [0, 1, 1]), ("all", [1, 1, 1])):
        session = guard.session(verdict_at=at)  # type: ignore[arg-type]
        found = [session.follow(step) is not None for step in (STEPS[0], talk, STEPS[1])]
        assert found == [bool(one) for one in expected]
    with pytest.raises(ValueError, match="verdict_at"):
        guard.session(verdict_at="never")  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [0, -5, float("nan")])
def test_a_deadline_that_is_none(session: Session, wrong: float) -> None:
    with pytest.raises(ValueError, match="deadline_ms"):
        session.push(STEPS[1], deadline_ms=wrong)


def test_an_engine_that_is_late(session: Session, engine: FakeEngine) -> None:
    engine.slices = 10**6
    verdict = session.push(STEPS[1], deadline_ms=50)
    assert verdict.reason is Reason.DEADLINE
    assert not verdict.allowed
    for ticket in engine.tickets:
        ticket.slices = 0
    engine.slices = 0
    assert session.judge().margin == expected_margin(STEPS[:2])


def test_what_a_late_read_holds_makes_room(guard: Guard, engine: FakeEngine) -> None:
    """An idle session whose last call was late keeps no memory from others; it reads again."""
    session, other, engine.slices = guard.session(PROFILE), guard.session(PROFILE), 10**6
    assert session.push(STEPS[1], deadline_ms=50).reason is Reason.DEADLINE
    late, read = engine.tickets[-1], sum(len(segment.tokens) for segment in engine.calls[-1])
    engine.slices, engine.failures = 0, [{0: "memory"}]
    assert other.push(STEPS[0]).reason is Reason.MEMORY  # it is under way: nothing to take
    late.slices, engine.failures = 0, [{0: "memory"}]
    assert other.judge().margin == expected_margin(STEPS[:1])
    assert engine.failures == []
    before = engine.stats()["tokens"]
    verdict = session.judge()
    assert verdict.margin == expected_margin(STEPS[1:2])
    assert engine.stats()["tokens"] - before == read
    assert verdict.tokens_read == 2 * read


def test_a_step_that_came_while_another_was_read(session: Session) -> None:
    session._lock.acquire()
    pushed = session.push(STEPS[1], deadline_ms=1)
    checked = session.check(STEPS[2], deadline_ms=1)
    session._lock.release()
    assert pushed.reason is checked.reason is Reason.DEADLINE
    assert (pushed.step, checked.step) == (1, 2)
    assert session.judge().margin == expected_margin(STEPS[:2])


def test_a_late_step_can_be_rejected(session: Session) -> None:
    session._lock.acquire()
    pushed = session.push(BAD, deadline_ms=1)
    session._lock.release()
    assert pushed.reason is Reason.DEADLINE
    session.reject(pushed)
    assert session.push(STEPS[1]).margin == expected_margin(STEPS[:2])


@pytest.mark.parametrize("window", ["strict", "window"])
def test_a_giant_step_does_not_outlast_its_deadline(window: Literal["strict", "window"]) -> None:
    """It is owed, and no verdict counts without it."""
    session = make_guard(FakeEngine(context=1500)).session(PROFILE, window=window)
    session.observe(STEPS[0])
    giant = Step.environment("word " * 100_000)
    answers = [
        session.check(giant, deadline_ms=1),
        session.peek(giant, deadline_ms=1),
        session.check_turn("", ["word " * 100_000, "b"], deadline_ms=1).joint,
        session.push(giant, deadline_ms=1),
        session.judge(deadline_ms=1),
        session.push(STEPS[1], deadline_ms=1),
    ]
    assert [answer.reason for answer in answers] == [Reason.DEADLINE] * 6
    assert [answer.step for answer in answers] == [1, 1, 1, 1, 1, 2]
    assert all(answer.coverage < 1 for answer in answers)
    assert all("rendered" in answer.message for answer in answers)
    last = session.judge()
    assert last.step == 2
    assert last.reason is (Reason.OVERFLOW if window == "strict" else None)


def test_a_check_that_came_while_another_was_read_can_be_committed(session: Session) -> None:
    session._lock.acquire()
    checked = session.check(STEPS[1], deadline_ms=1)
    session._lock.release()
    session.commit(checked)
    assert session.judge().margin == expected_margin(STEPS[:2])


def test_a_late_check_behind_late_steps_stays_open(session: Session) -> None:
    early = session.check(STEPS[2])
    session._lock.acquire()
    overtaken = session.check(STEPS[2], deadline_ms=1)
    session.push(STEPS[1], deadline_ms=1)
    first = session.check(STEPS[2], deadline_ms=1)
    session.observe(STEPS[2], deadline_ms=1)
    second = session.check(STEPS[3], deadline_ms=1)
    dropped = session.check(STEPS[1], deadline_ms=1)
    session._lock.release()
    for verdict in (early, overtaken, first):
        with pytest.raises(VerdictError, match="overtaken by a later step"):
            session.commit(verdict)
    session.reject(dropped)
    session.commit(second)
    assert session.judge().margin == expected_margin(STEPS[:4])
    with pytest.raises(VerdictError):
        session.commit(second)


def test_the_window_moves_and_says_what_it_left_out() -> None:
    engine = FakeEngine(context=1500)
    guard = make_guard(engine)
    steps = [Step.user("first"), *(Step.agent("t", f"do {i} " + "x" * 90) for i in range(60))]
    with guard.session(PROFILE, window="window") as session:
        verdicts = [session.push(step) for step in steps]
    assert all(verdict.reason is None for verdict in verdicts)
    last = verdicts[-1]
    assert last.coverage < 0.5
    ((first, end),) = last.left_out
    assert first == 1  # the first user step stays
    stay = (steps[0], *steps[end + 1 :])
    assert last.margin == expected_margin(tuple(stay))
    assert sum(verdict.tokens_read for verdict in verdicts) < 6 * 60 * 130
    with guard.session(PROFILE) as strict:
        found = [strict.push(step) for step in steps]
    assert found[-1].reason is Reason.OVERFLOW
    with pytest.raises(ValueError, match="window"):
        guard.session(window="none")  # type: ignore[arg-type]


def test_the_asynchronous_twins_of_checks(guard: Guard) -> None:
    async def run() -> float | None:
        session = guard.session(PROFILE)
        await session.aobserve(STEPS[0])
        await session.areject(await session.acheck(BAD))
        await session.acommit(await session.acheck(STEPS[1], deadline_ms=60_000))
        await session.apeek(STEPS[2])
        assert (await session.acheck_turn("x", ["a"])).joint.reason is None
        other = await session.afork()
        await session.aclose()
        assert await other.afollow(STEPS[2]) is None
        return (await other.apush(STEPS[3])).margin

    assert asyncio.run(run()) == expected_margin(STEPS)
