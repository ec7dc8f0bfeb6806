"""What keeps a diagnosis from being complete is its reason; only misuse is raised."""

from __future__ import annotations

import pytest

from stepguard import Guard, Reason, Step, Trajectory
from stepguard.errors import EngineClosed, SessionClosed, TaxonomyError
from stepguard.session import Session
from tests.front.diagnosis.dug import ORDER, PROFILE, STEPS
from tests.front.fakes import FakeEngine, make_guard


@pytest.mark.parametrize("reason", ["deadline", "overflow", "internal", "closing"])
@pytest.mark.parametrize("dimension", range(3))
def test_what_goes_wrong_is_its_reason(
    engine: FakeEngine, session: Session, reason: str, dimension: int
) -> None:
    engine.failures = [{}] * dimension + [{1: reason}]
    diagnosis = session.diagnose()
    assert diagnosis.reason == reason
    assert diagnosis.message == f"fake {reason}"
    assert not diagnosis.complete
    assert list(diagnosis.best) == list(ORDER[:dimension])
    assert diagnosis.coverage == (1.0 if dimension else 0.0)
    assert session.diagnose().complete


def test_memory_that_runs_out(engine: FakeEngine, session: Session) -> None:
    """Idle States make room; where there are none, that is the reason."""
    engine.failures = [{1: "memory"}]
    assert session.diagnose().complete
    engine.failures = [{1: "memory"}] * 9
    diagnosis = session.diagnose()
    assert (diagnosis.reason, diagnosis.best) == (Reason.MEMORY, {})


def test_a_logit_that_is_no_number(engine: FakeEngine, session: Session) -> None:
    engine.nan = True
    diagnosis = session.diagnose()
    assert (diagnosis.reason, diagnosis.best) == (Reason.NUMERIC, {})


def test_a_late_diagnosis_leaves_the_session_whole(engine: FakeEngine, session: Session) -> None:
    engine.slices = 10**6
    diagnosis = session.diagnose(deadline_ms=20)
    assert (diagnosis.reason, diagnosis.best) == (Reason.DEADLINE, {})
    assert diagnosis.latency_ms >= 20
    engine.slices = engine.tickets[-1].slices = 0
    assert session.judge().reason is None
    assert session.diagnose().complete


def test_a_malformed_step(guard: Guard) -> None:
    with guard.session(PROFILE) as session:
        verdict = session.push(Step.agent(action={"rm -rf /"}))  # type: ignore[arg-type]
        assert verdict.reason is Reason.MALFORMED
        diagnosis = session.diagnose()
        assert diagnosis.reason is Reason.MALFORMED
        assert diagnosis.message == verdict.message


def test_guards_without_labels() -> None:
    guard = make_guard(FakeEngine())
    with guard.session() as session, pytest.raises(TaxonomyError, match="Export again with --tax"):
        session.diagnose()
    with pytest.raises(TaxonomyError, match="Export again with --taxonomy FILE"):
        guard.moderate(Trajectory("", STEPS), diagnose=True)
    unsafe = guard.moderate(Trajectory("", STEPS))
    assert all(verdict.diagnosis is None for verdict in unsafe)


@pytest.mark.parametrize("top", [0, -1, True, 1.5, "2"])
def test_how_many_answers_must_be_a_number(session: Session, top: int) -> None:
    with pytest.raises(ValueError, match="top: expected a whole number from 1 up"):
        session.diagnose(top=top)


def test_misuse_is_raised(guard: Guard, session: Session) -> None:
    session.close()
    with pytest.raises(SessionClosed):
        session.diagnose()
    open_session = guard.session()
    guard.close()
    with pytest.raises(EngineClosed):
        open_session.diagnose()
