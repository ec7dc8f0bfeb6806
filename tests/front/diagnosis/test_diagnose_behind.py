"""A diagnosis follows an unsafe verdict, which never waits for it."""

from __future__ import annotations

import json

import pytest

from stepguard import Guard, Reason, Status, Step, Trajectory
from stepguard.taxonomy import Diagnosis, Dimension
from tests.front.diagnosable import TAXONOMY, make_diagnosable
from tests.front.diagnosis.dug import ORDER, PROFILE, STEPS, SlowBehind, until


def test_an_unsafe_verdict_brings_its_diagnosis(guard: Guard) -> None:
    with guard.session(PROFILE) as session:
        session.observe(STEPS[0])
        safe = session.push(until(session, Status.SAFE)[0])
        assert safe.diagnosis is None
        for call in (session.push, session.check):
            verdict = call(until(session, Status.UNSAFE)[0])
            assert verdict.status is Status.UNSAFE
            assert verdict.diagnosis is not None
            diagnosis = verdict.diagnosis.result(10)
            assert isinstance(diagnosis, Diagnosis)
            assert diagnosis.step == verdict.step
        session.commit(verdict)
        assert session.diagnose().best == diagnosis.best
        assert session.judge().diagnosis is not None
        assert session.peek(STEPS[1]).diagnosis is None


def test_calls_of_a_turn_have_their_own(guard: Guard) -> None:
    with guard.session(PROFILE) as session:
        session.observe(STEPS[0])
        turns = (session.check_turn("both", [f"a({i})", f"b({i})"]) for i in range(100))
        turn = next(turn for turn in turns if turn.joint.status is Status.SAFE and not turn.allowed)
        assert turn.joint.diagnosis is None
        for verdict in turn.calls:
            assert (verdict.diagnosis is not None) == (verdict.status is Status.UNSAFE)


def test_json_has_every_label(guard: Guard) -> None:
    with guard.session(PROFILE) as session:
        session.observe(STEPS[0])
        verdict = session.push(until(session, Status.UNSAFE)[0])
        assert verdict.diagnosis is not None
        verdict.diagnosis.result(10)
    value = json.loads(verdict.to_json())["diagnosis"]
    for name in ORDER:
        labels = TAXONOMY.of(Dimension(name))
        assert sorted(value[name]) == sorted(label.id for label in labels)
        assert value["best"][name] in value[name]
    assert (value["complete"], value["order"]) == (True, list(ORDER))


def test_no_verdict_waits_for_a_diagnosis() -> None:
    engine = SlowBehind()
    guard = make_diagnosable(engine)
    session = guard.session(PROFILE)
    session.observe(STEPS[0])
    first = session.push(until(session, Status.UNSAFE)[0])
    others = [session.push(Step.agent("go on", f"pay({i})")) for i in range(20)]
    found = [v.diagnosis for v in (first, *others) if v.diagnosis is not None]
    assert len(found) > 3
    assert not any(future.done() for future in found)
    assert first.to_dict()["diagnosis"] is None
    session.close()  # the reading apart goes on
    engine.may_run.set()
    assert all(future.result(10).complete for future in found)


def test_a_guard_that_closes_ends_what_waits() -> None:
    engine = SlowBehind()
    guard = make_diagnosable(engine)
    session = guard.session(PROFILE)
    session.observe(STEPS[0])
    verdict = session.push(until(session, Status.UNSAFE)[0])
    guard.close()
    engine.may_run.set()
    assert verdict.diagnosis is not None
    assert verdict.diagnosis.result(10).reason is Reason.CLOSING


def test_too_many_that_wait_are_not_begun() -> None:
    engine = SlowBehind()
    session = make_diagnosable(engine).session(PROFILE, verdict_at="all")
    verdicts = [session.push(Step.agent("go", f"pay({i})")) for i in range(250)]
    found = [verdict.diagnosis for verdict in verdicts if verdict.diagnosis is not None]
    assert len(found) > 64
    assert [future.done() for future in found] == [index >= 64 for index in range(len(found))]
    assert found[-1].result().reason is Reason.DEADLINE
    engine.may_run.set()
    assert all(future.result(10).complete for future in found[:64])


def test_a_bug_in_a_diagnosis_is_a_reason(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with guard.session(PROFILE) as session:
        session.observe(STEPS[0])
        step, _ = until(session, Status.UNSAFE)
        monkeypatch.setattr("stepguard.diagnose.outside", lambda *_: 1 / 0)
        verdict = session.push(step)
        assert verdict.diagnosis is not None
        diagnosis = verdict.diagnosis.result(10)
    assert (diagnosis.reason, diagnosis.message.split(":")[0]) == ("internal", "ZeroDivisionError")
    assert "a job of the background failed" in caplog.text


def test_whole_trajectories(guard: Guard) -> None:
    steps = (STEPS[0], *(Step.agent("go", f"pay({i})") for i in range(12)), STEPS[2])
    trajectory = Trajectory(PROFILE, steps)
    seen: list[tuple[int, int]] = []
    verdicts = guard.moderate(
        trajectory, diagnose=True, progress=lambda done, total: seen.append((done, total))
    )
    plain = guard.moderate(trajectory)
    assert [v.margin for v in verdicts] == [v.margin for v in plain]
    for verdict in verdicts:
        assert (verdict.diagnosis is not None) == (verdict.status is Status.UNSAFE)
        if verdict.diagnosis is not None:
            assert verdict.diagnosis.done()
    done, total = seen[-1]
    assert 0 < done <= total
    (judged,) = guard.moderate(Trajectory(PROFILE, STEPS[:1]), diagnose=True)
    assert judged.step == 0
