"""A second guard diagnoses what the first finds unsafe, and reads a trajectory once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepguard import Guard, Status, Trajectory
from stepguard.second import Second
from tests.front.diagnosable import make_diagnosable
from tests.front.fakes import FakeEngine
from tests.front.second.pairs import PROFILE, STEPS, Loads, alone, paired, until


def test_the_second_guard_diagnoses_what_the_first_finds_unsafe(folder: Path, loads: Loads) -> None:
    guard, second = paired(folder)
    session = guard.session(PROFILE)
    session.observe(STEPS[0])
    assert not second.loaded
    at = 1
    for _ in range(3):
        verdict, at = until(session.push, Status.UNSAFE, at)
        assert verdict.diagnosis is not None
        diagnosis = verdict.diagnosis.result(10)
        expected = alone(STEPS[:at]).diagnose()
        for name in ("risk_source", "failure_mode", "real_world_harm", "guard", "step"):
            assert getattr(diagnosis, name) == getattr(expected, name)
        assert session.diagnose().best == expected.best
    assert second.loads == len(loads) == 1
    guard.close()
    assert (loads[0].closed > 0, second.loaded) == (True, False)


def test_it_reads_the_trajectory_once(folder: Path, loads: Loads) -> None:
    guard, _ = paired(folder)
    session = guard.session(PROFILE)
    session.observe(STEPS[0])
    verdict, at = until(session.push, Status.UNSAFE)
    assert verdict.diagnosis is not None
    first = verdict.diagnosis.result(10)
    verdict, after = until(session.push, Status.UNSAFE, at)
    assert verdict.diagnosis is not None
    then = verdict.diagnosis.result(10)
    again = session.diagnose()  # nothing new: the question, the lines and their labels
    encoder = make_diagnosable(FakeEngine())._reader.encoder
    lengths = [len(encoder.whole(Trajectory(PROFILE, tuple(STEPS[:n])))) for n in (at, after)]
    new = then.tokens_read - again.tokens_read
    assert abs(new - (lengths[1] - lengths[0])) <= 3  # what is held back at a border varies
    assert first.tokens_read > again.tokens_read


def test_a_step_that_was_rejected_is_not_there(folder: Path, loads: Loads) -> None:
    guard, _ = paired(folder)
    session = guard.session(PROFILE)
    session.observe(STEPS[0])
    verdict, at = until(session.check, Status.UNSAFE)
    assert verdict.diagnosis is not None
    expected = alone([STEPS[0], STEPS[at - 1]]).diagnose()
    assert verdict.diagnosis.result(10).risk_source == expected.risk_source
    session.reject(verdict)
    session.observe(STEPS[2])
    expected = alone([STEPS[0], STEPS[2]]).diagnose()
    assert session.diagnose().risk_source == expected.risk_source
    fork = session.fork()
    fork.observe(STEPS[3])
    expected = alone([STEPS[0], STEPS[2], STEPS[3]]).diagnose()
    assert fork.diagnose().risk_source == expected.risk_source


def test_real_guards(diagnosable: dict[str, Path], small_guards: dict[str, Path]) -> None:
    """A first guard of attention only, a second one that is a hybrid."""
    options: dict[str, Any] = {"memory": 64 << 20, "save_prefix": False, "threads": 1}
    second = Second(diagnosable["hybrid"], **options)
    with Guard.load(small_guards["attention"], diagnoser=second, **options) as guard:
        session = guard.session(PROFILE)
        session.observe(STEPS[0])
        verdict, at = until(session.push, Status.UNSAFE)
        assert verdict.diagnosis is not None
        diagnosis = verdict.diagnosis.result(30)
        assert diagnosis.complete, diagnosis.message
    assert not second.loaded
    with (
        Guard.load(diagnosable["hybrid"], **options) as fine,
        fine.session(PROFILE, diagnose=False) as by_itself,
    ):
        for step in STEPS[:at]:
            by_itself.observe(step)
        expected = by_itself.diagnose()
    for name in ("risk_source", "failure_mode", "real_world_harm", "out_of_vocabulary"):
        assert getattr(diagnosis, name) == getattr(expected, name)  # to the bit
