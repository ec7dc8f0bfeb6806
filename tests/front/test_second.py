"""A second guard is loaded when it is needed, reads a trajectory once, and is in nobody's way."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepguard import Guard, Reason, Status, Step, Trajectory
from stepguard.errors import ModelFormatError, PromptError, TaxonomyError
from stepguard.second import Second, available_share
from stepguard.session import Session
from stepguard.taxonomy import Calibration, Verdict
from tests.front.diagnosable import make_diagnosable
from tests.front.fakes import FakeEngine, asked_texts, make_guard, writing_prompt

PROFILE = "An agent."
BAND = Calibration(1.0, 0.0, 0.2, 0.8)
STEPS = [Step.user("Pay."), *(Step.agent("I pay.", f"pay({i})") for i in range(60))]
Loads = list[FakeEngine]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    """The engines of the guards that are loaded."""
    engines: Loads = []

    def load(_: Path, **__: Any) -> Guard:
        engines.append(FakeEngine())
        return make_diagnosable(engines[-1])

    monkeypatch.setattr(Guard, "load", load)
    return engines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the manifest of the guard that `loads` gives."""
    (tmp_path / "manifest.json").write_text(make_diagnosable(FakeEngine()).manifest.to_json())
    return tmp_path


def paired(folder: Path, **options: Any) -> tuple[Guard, Second]:
    second, first = Second(folder, **options), make_guard(FakeEngine())
    return Guard(first.manifest, first.prompt, first._reader, diagnoser=second), second


def cascade(folder: Path, **options: Any) -> tuple[Guard, Second]:
    second, first = Second(folder, **options), make_guard(FakeEngine())
    judge = replace(first._reader.judge, calibration=BAND)
    reader = replace(first._reader, judge=judge)
    return Guard(first.manifest, first.prompt, reader, larger=second), second


def alone(steps: list[Step]) -> Guard:
    """A session of the second guard that reads these steps by itself."""
    session = make_diagnosable(FakeEngine()).session(PROFILE, diagnose=False)
    for step in steps:
        session.observe(step)
    return session  # type: ignore[return-value]


def until(push: Callable[[Step], Verdict], status: Status, start: int = 1) -> tuple[Verdict, int]:
    """Pushes steps until a verdict has this status; it, and how many steps there are then."""
    for index in range(start, len(STEPS)):
        verdict = push(STEPS[index])
        if verdict.status is status:
            return verdict, index + 1
    raise AssertionError(f"never {status}")


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
        expected = alone(STEPS[:at]).diagnose()  # type: ignore[attr-defined]
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
    expected = alone([STEPS[0], STEPS[at - 1]]).diagnose()  # type: ignore[attr-defined]
    assert verdict.diagnosis.result(10).risk_source == expected.risk_source
    session.reject(verdict)
    session.observe(STEPS[2])
    expected = alone([STEPS[0], STEPS[2]]).diagnose()  # type: ignore[attr-defined]
    assert session.diagnose().risk_source == expected.risk_source
    fork = session.fork()
    fork.observe(STEPS[3])
    expected = alone([STEPS[0], STEPS[2], STEPS[3]]).diagnose()  # type: ignore[attr-defined]
    assert fork.diagnose().risk_source == expected.risk_source


def test_no_verdict_waits_while_it_loads(
    folder: Path, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_load, load = threading.Event(), Guard.load

    def slow(path: Path, **_: Any) -> Guard:
        assert may_load.wait(10)
        return load(path)

    guard, second = paired(folder)
    monkeypatch.setattr(Guard, "load", slow)
    session = guard.session(PROFILE)
    verdicts = [session.push(step) for step in STEPS[:20]]
    futures = [verdict.diagnosis for verdict in verdicts if verdict.diagnosis is not None]
    assert len(futures) > 3
    assert not any(future.done() for future in futures)
    late = session.diagnose(deadline_ms=20)
    assert (late.reason, late.best, second.loaded) == (Reason.DEADLINE, {}, False)
    may_load.set()
    assert all(future.result(10).complete for future in futures)


def test_it_is_let_go_of_when_memory_is_short(
    folder: Path, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepguard.second._EVERY_SECONDS", 0.0)
    shares = [1.0]
    guard, second = paired(folder, share=lambda: shares[0])
    session = guard.session(PROFILE)
    session.observe(STEPS[0])
    verdict, at = until(session.push, Status.UNSAFE)
    assert verdict.diagnosis is not None
    assert verdict.diagnosis.result(10).complete
    assert second.loaded
    shares[0] = 0.01
    session.judge()
    deadline = time.monotonic() + 10
    while not loads[0].closed and time.monotonic() < deadline:
        time.sleep(0.001)
    assert loads[0].closed == 1
    shares[0] = 1.0
    diagnosis = session.diagnose()
    assert diagnosis.risk_source == alone(STEPS[:at]).diagnose().risk_source  # type: ignore[attr-defined]
    assert second.loads == len(loads) >= 2


def test_a_guard_that_cannot_be_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guard, _ = paired(folder)

    def fails(*_: Any, **__: Any) -> Guard:
        raise ModelFormatError("weights.bin", got="nothing")

    monkeypatch.setattr(Guard, "load", fails)
    session = guard.session(PROFILE)
    diagnosis = session.diagnose()
    assert diagnosis.reason is Reason.INTERNAL
    assert diagnosis.message.startswith("ModelFormatError: weights.bin")
    assert session.judge().reason is None


def test_what_is_wrong_is_said_at_once(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelFormatError, match="the manifest of a model directory"):
        Second(tmp_path / "none")
    (folder / "manifest.json").write_text(make_guard(FakeEngine()).manifest.to_json())
    with pytest.raises(TaxonomyError, match="Export again with --taxonomy FILE"):
        Guard.load(folder, diagnoser=folder)


def test_one_that_is_closed_while_it_loads_behind_a_full_queue(
    folder: Path, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_load, load, began = threading.Event(), Guard.load, threading.Event()

    def slow(path: Path, **_: Any) -> Guard:
        began.set()
        assert may_load.wait(10)
        return load(path)

    guard, second = paired(folder)
    monkeypatch.setattr(Guard, "load", slow)
    session = guard.session(PROFILE, verdict_at="all")
    verdicts = [session.push(Step.agent("I pay.", f"pay({n})")) for n in range(250)]
    futures = [verdict.diagnosis for verdict in verdicts if verdict.diagnosis is not None]
    assert len(futures) > 64
    assert began.wait(10)
    guard.close()
    may_load.set()
    assert {future.result(10).reason for future in futures[:64]} == {Reason.CLOSING}
    second.background.join()
    assert (loads[0].closed > 0, second.loads, second.loaded) == (True, 1, False)


def test_a_larger_guard_must_give_verdicts(folder: Path) -> None:
    silent = make_guard(FakeEngine(), writing_prompt("agentdog-1.5-finegrained"))
    (folder / "manifest.json").write_text(silent.manifest.to_json())
    with pytest.raises(PromptError, match="one that only diagnoses"):
        Guard.load(folder, larger=folder)


def test_a_first_guard_that_closes_ends_what_waits(
    folder: Path, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, may_load, load = threading.Event(), threading.Event(), Guard.load

    def slow(path: Path, **_: Any) -> Guard:
        began.set()
        assert may_load.wait(10)
        return load(path)

    guard, second = paired(folder)
    monkeypatch.setattr(Guard, "load", slow)
    session = guard.session(PROFILE)
    futures = [v.diagnosis for v in map(session.push, STEPS[:20]) if v.diagnosis is not None]
    assert began.wait(10)  # else what waits may be closed before anything is loaded
    guard.close()
    may_load.set()
    reasons = [future.result(10).reason for future in futures]
    assert set(reasons[1:]) == {Reason.CLOSING}
    second.background.close()
    deadline = time.monotonic() + 10
    while loads[0].closed == 0 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert (loads[0].closed, second.loads, second.loaded) == (1, 1, False)


def test_a_larger_guard_judges_what_is_unsure(folder: Path, loads: Loads) -> None:
    guard, second = cascade(folder)
    session = guard.session(PROFILE)
    session.observe(STEPS[0])
    passed = []
    for index, step in enumerate(STEPS[1:], start=2):
        verdict = session.push(step)
        assert (verdict.second is not None) == (verdict.status is Status.UNSURE)
        if verdict.second is not None:
            passed.append((verdict.second.result(10), index))
    assert 2 < len(passed) < len(STEPS)
    for verdict, steps in passed:
        assert verdict.margin == alone(STEPS[:steps]).judge().margin  # type: ignore[attr-defined]
        assert verdict.guard == second.judge.guard
    assert second.loads == len(loads) == 1


def test_moderate_waits_for_the_larger_guard(folder: Path, loads: Loads) -> None:
    guard, second = cascade(folder)
    verdicts = guard.moderate(Trajectory(PROFILE, tuple(STEPS)))
    passed = [verdict for verdict in verdicts if verdict.status is Status.UNSURE]
    assert 2 < len(passed) < len(verdicts) == len(STEPS) - 1
    for verdict in verdicts:
        assert (verdict.second is not None) == (verdict in passed)
    for verdict in passed:
        assert verdict.second is not None
        assert verdict.second.done()
        steps = STEPS[: int(verdict.step or 0) + 1]
        assert verdict.second.result().margin == alone(steps).judge().margin  # type: ignore[attr-defined]
    assert [verdict.margin for verdict in verdicts] == [
        verdict.margin
        for verdict in make_guard(FakeEngine()).moderate(Trajectory(PROFILE, tuple(STEPS)))
    ]
    assert second.loads == len(loads) == 1


def windowed(folder: Path, kind: str) -> tuple[Session, Step]:
    """A session of a small context whose first steps are out of view, and a step that is longer."""
    second, first = Second(folder), make_guard(FakeEngine(context=1600))
    band = Calibration(1.0, 0.0, 0.0, 1.0)  # unsure, whatever comes
    reader = replace(first._reader, judge=replace(first._reader.judge, calibration=band))
    guard = Guard(first.manifest, first.prompt, reader, **{kind: second})  # type: ignore[arg-type]
    session = guard.session(PROFILE, window="window")
    for n in range(40):
        session.observe(Step.agent("I pay.", f"pay({n})"))
    return session, Step.agent("", "BEGIN " + "pay " * 400 + "END")


def test_the_second_guard_sees_no_more_than_the_first(folder: Path, loads: Loads) -> None:
    session, _ = windowed(folder, "larger")
    first = session.push(Step.agent("", "pay"))
    assert first.second is not None
    second = first.second.result(10)
    assert first.left_out
    assert (second.step, second.left_out) == (40, first.left_out)
    assert second.coverage == pytest.approx(first.coverage, abs=0.05)
    assert first.coverage < 0.8


def test_the_second_guard_sees_steps_whole_that_the_first_reads_in_windows(
    folder: Path, loads: Loads
) -> None:
    session, long = windowed(folder, "larger")
    first = session.push(long)
    assert first.windows > 1
    assert first.second is not None
    second = first.second.result(10)
    assert (second.step, second.windows) == (40, 1)
    assert second.left_out == first.left_out
    assert "BEGIN pay" in asked_texts(loads[0])[-1]


def test_a_second_diagnosis_says_what_it_did_not_see(folder: Path, loads: Loads) -> None:
    session, long = windowed(folder, "diagnoser")
    session.observe(long)
    diagnosis = session.diagnose()
    assert diagnosis.complete
    assert (diagnosis.step, diagnosis.windows) == (40, 1)
    assert diagnosis.left_out[0][0] <= 1
    assert 0 < diagnosis.coverage < 0.9


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are Linux's")
def test_engines_that_give_way(small_guards: dict[str, Path]) -> None:
    def nice() -> list[int]:
        stats = [path.read_text() for path in Path("/proc/self/task").glob("*/stat")]
        return [int(text.rpartition(")")[2].split()[16]) for text in stats]

    before, options = nice(), {"memory": 32 << 20, "save_prefix": False, "threads": 2}
    with Guard.load(small_guards["attention"], give_way=True, **options) as guard:
        # The worker and its helper. The thread that made them may take a moment to be gone.
        end = time.monotonic() + 5
        while nice().count(19) - before.count(19) != 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert nice().count(19) - before.count(19) == 2
        assert guard.moderate(Trajectory(PROFILE, tuple(STEPS[:2])))
    with Guard.load(small_guards["attention"], **options):
        assert nice().count(19) == before.count(19)


def test_the_memory_of_this_machine() -> None:
    assert 0 < available_share() <= 1


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
