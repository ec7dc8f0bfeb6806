"""A second guard is loaded when it is needed, let go of in time, and in nobody's way."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stepguard import Guard, Reason, Status, Step, Trajectory
from stepguard.errors import ModelFormatError, PromptError, TaxonomyError
from stepguard.second import Second, available_share
from tests.front.fakes import FakeEngine, make_guard, writing_prompt
from tests.front.second.pairs import PROFILE, STEPS, Held, Loads, alone, paired, until


def test_no_verdict_waits_while_it_loads(
    folder: Path, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard, second = paired(folder)
    held = Held(monkeypatch)
    session = guard.session(PROFILE)
    verdicts = [session.push(step) for step in STEPS[:20]]
    futures = [verdict.diagnosis for verdict in verdicts if verdict.diagnosis is not None]
    assert len(futures) > 3
    assert not any(future.done() for future in futures)
    late = session.diagnose(deadline_ms=20)
    assert (late.reason, late.best, second.loaded) == (Reason.DEADLINE, {}, False)
    held.may_load.set()
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
    assert diagnosis.risk_source == alone(STEPS[:at]).diagnose().risk_source
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
    guard, second = paired(folder)
    held = Held(monkeypatch)
    session = guard.session(PROFILE, verdict_at="all")
    verdicts = [session.push(Step.agent("I pay.", f"pay({n})")) for n in range(250)]
    futures = [verdict.diagnosis for verdict in verdicts if verdict.diagnosis is not None]
    assert len(futures) > 64
    assert held.began.wait(10)
    guard.close()
    held.may_load.set()
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
    guard, second = paired(folder)
    held = Held(monkeypatch)
    session = guard.session(PROFILE)
    futures = [v.diagnosis for v in map(session.push, STEPS[:20]) if v.diagnosis is not None]
    assert held.began.wait(10)  # else what waits may be closed before anything is loaded
    guard.close()
    held.may_load.set()
    reasons = [future.result(10).reason for future in futures]
    assert set(reasons[1:]) == {Reason.CLOSING}
    second.background.close()
    deadline = time.monotonic() + 10
    while loads[0].closed == 0 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert (loads[0].closed, second.loads, second.loaded) == (1, 1, False)


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
