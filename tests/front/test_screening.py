"""A screen before the guard: what it finds goes with the trajectory, and makes nothing safe."""

from __future__ import annotations

import os
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from stepguard import Guard, Reason, Screen, Status, Step, Trajectory, Verdict
from stepguard.errors import ForkedProcessError
from stepguard.second import Follower
from tests.front.fakes import FakeEngine, make_guard, writing_prompt
from tests.front.small_screen import make_screen, slow_down
from tests.front.test_escalation import FORM, wrote
from tests.front.test_rationale import SAFE, writes

USER, CALM = Step.user("go"), Step.environment("calm a b")
ATTACK = Step.environment("a b attack c")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_screen(tmp_path_factory.mktemp("screening") / "words")


@pytest.fixture(scope="module")
def screen(folder: Path) -> Screen:
    return Screen.load(folder)


@pytest.fixture
def guard(engine: FakeEngine, screen: Screen) -> Guard:
    return screened(make_guard(engine), screen)


def screened(guard: Guard, screen: Screen) -> Guard:
    guard._screen, guard._keeps_screen = screen, False
    return guard


def act(n: int = 0) -> Step:
    return Step.agent("", f"act{n}")


def told(verdict: Verdict) -> list[tuple[int | None, Status]]:
    return [(one.step, one.status) for one in verdict.screened]


def test_a_flagged_result_goes_with_the_verdicts_behind_it(guard: Guard) -> None:
    with guard.session() as session:
        session.observe(USER)
        session.observe(CALM)
        assert told(session.push(act())) == []
        session.observe(ATTACK)
        found = session.screened()
        assert [(one.step, one.status, one.mode) for one in found] == [
            (1, Status.SAFE, "screen"),
            (3, Status.UNSURE, "screen"),
        ]
        for n in range(2):
            assert told(session.push(act(n))) == [(3, Status.UNSURE)]


def test_the_guards_own_verdict_is_what_it_is_without(guard: Guard) -> None:
    plain = make_guard(FakeEngine())
    statuses = set()
    with guard.session() as ours, plain.session() as theirs:
        for n in range(20):
            for session in (ours, theirs):
                session.observe(ATTACK if n % 2 else CALM)
            mine, other = ours.push(act(n)), theirs.push(act(n))
            assert (mine.status, mine.margin) == (other.status, other.margin)
            statuses.add(mine.status)
    assert statuses == {Status.SAFE, Status.UNSAFE}


def test_what_the_user_and_the_agent_write_is_not_screened(guard: Guard) -> None:
    with guard.session() as session:
        session.observe(Step.user("attack"))
        session.observe(Step.agent("attack", ""))
        assert told(session.push(Step.agent("attack", "attack"))) == []
        assert session.screened() == ()


def test_a_rejected_step_takes_its_finding_along(guard: Guard) -> None:
    with guard.session() as session:
        session.observe(USER)
        bad = session.push(ATTACK)
        assert told(bad) == [(1, Status.UNSURE)]
        session.reject(bad)
        assert session.screened() == ()
        session.observe(CALM)
        assert told(session.push(act())) == []


def test_a_checked_result_counts_once_it_is_committed(guard: Guard) -> None:
    with guard.session() as session:
        verdict = session.check(ATTACK)
        assert told(verdict) == []
        session.commit(verdict)
        assert told(session.judge()) == [(0, Status.UNSURE)]


def test_forks_go_their_own_ways(guard: Guard) -> None:
    with guard.session() as session:
        session.observe(ATTACK)
        fork = session.fork()
        fork.observe(ATTACK)
        assert told(fork.judge()) == [(0, Status.UNSURE), (1, Status.UNSURE)]
        assert told(session.judge()) == [(0, Status.UNSURE)]


def test_it_is_remembered_when_the_window_has_moved_on(screen: Screen) -> None:
    guard = screened(make_guard(FakeEngine(context=1600)), screen)
    with guard.session(window="window") as session:
        session.observe(ATTACK)
        for n in range(60):
            session.observe(Step.environment(f"calm a b c d {n}"))
        verdict = session.push(act())
    assert any(first <= 0 <= last for first, last in verdict.left_out)
    assert (0, Status.UNSURE) in told(verdict)


def test_a_result_longer_than_the_context_is_screened_whole(screen: Screen) -> None:
    guard = screened(make_guard(FakeEngine(context=1600)), screen)
    with guard.session(window="window") as session:
        session.observe(Step.environment("a " * 3000 + "attack " + "b " * 3000))
        assert told(session.push(act())) == [(0, Status.UNSURE)]


def test_what_has_no_text_is_counted(guard: Guard) -> None:
    with guard.session() as session:
        session.observe(Step.environment([{"type": "image"}, {"type": "text", "text": "a"}]))
        (found,) = session.screened()
    assert found.unreadable == 1


def test_what_is_late_is_owed_and_told(
    guard: Guard, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch, screen, 0.01)
    long = Step.environment("a " * 400 + "attack")
    with guard.session() as session:
        session.observe(long, deadline_ms=300)
        (late,) = session.screened()
        assert (late.status, late.reason) == (Status.UNAVAILABLE, Reason.DEADLINE)
        (one,) = session.push(act()).screened
        assert (one.status, one.coverage) == (Status.UNSURE, 1.0)


def test_a_result_that_cannot_be_screened_is_told(guard: Guard) -> None:
    with guard.session() as session:
        session.observe(Step.environment("a nan b"))
        (one,) = session.push(act()).screened
    assert (one.status, one.reason) == (Status.UNAVAILABLE, Reason.NUMERIC)


def test_moderate_finds_what_a_session_finds(guard: Guard) -> None:
    steps = (USER, ATTACK, act(0), CALM, act(1), Step.environment("attack"), act(2))
    with guard.session() as session:
        streamed = [told(v) for v in map(session.follow, steps) if v is not None]
    whole = [told(verdict) for verdict in guard.moderate(Trajectory("", steps))]
    assert whole == streamed
    assert [len(row) for row in whole] == [1, 1, 2]


def test_the_verdict_in_json(guard: Guard) -> None:
    with guard.session() as session:
        session.observe(ATTACK)
        told_ = session.push(act()).to_dict()["screened"]
    assert [(one["mode"], one["status"], one["allowed"]) for one in told_] == [
        ("screen", "unsure", False)
    ]


@pytest.mark.parametrize(("result", "written"), [(ATTACK, True), (CALM, False)])
def test_a_safe_verdict_behind_a_flagged_result_is_written_out(
    engine: FakeEngine, screen: Screen, result: Step, written: bool
) -> None:
    guard = screened(make_guard(engine, writing_prompt(FORM), escalates=True), screen)
    engine.script = writes(SAFE)
    first = first_safe(guard, [result])
    after = first_safe(guard, [result, first])
    with guard.session() as session:
        session.observe(result)
        verdict = session.push(first)
        assert (verdict.status, verdict.mode) == (
            Status.SAFE,
            "rationale" if written else "forced",
        )
        assert (wrote(engine) > 0) is written
        # The next action has no new result before it.
        assert session.push(after).mode == "forced"


def first_safe(guard: Guard, steps: list[Step]) -> Step:
    """An action that the fake engine's hash calls safe behind these steps."""
    with make_guard(FakeEngine(), guard.prompt).session() as plain:
        for step in steps:
            plain.observe(step)
        return next(step for step in map(act, range(50)) if plain.peek(step).allowed)


def test_a_larger_guard_is_asked_about_a_safe_verdict_in_doubt(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def second(follower: Follower, track: Any) -> Future[Verdict]:
        asked.append(track.count)
        return Future()

    class Ease:
        def ease(self) -> None: ...

    class Larger:
        second = Ease()

    monkeypatch.setattr("stepguard.follow_up._second", second)
    for result in (CALM, ATTACK):
        session = guard.session()
        object.__setattr__(session._follow_up, "larger", Larger())
        session.observe(result)
        verdict = session.push(first_safe(guard, [result]))
        assert verdict.status is Status.SAFE
        assert (verdict.second is not None) == (result is ATTACK)
    assert asked == [2]


def test_a_child_of_fork_is_refused(screen: Screen) -> None:
    scan = screen.scan("a")
    scan._screen = Screen.__new__(Screen)
    scan._screen._pid = os.getpid() + 1
    with pytest.raises(ForkedProcessError):
        scan.run(None)


def test_a_guard_closes_the_screen_that_it_loaded_only(
    folder: Path, screen: Screen, small_guards: dict[str, Path]
) -> None:
    model = small_guards["attention"]
    with Guard.load(model, save_prefix=False, screen=screen) as guard:
        assert guard.moderate({"contents": [{"role": "environment", "content": "attack"}]})[
            0
        ].screened
    assert screen.check("a").allowed
    with Guard.load(model, save_prefix=False, screen=folder) as guard:
        own = guard._screen
        assert own is not None
        assert own.check("a").allowed
    assert own.check("a").reason is Reason.CLOSING
