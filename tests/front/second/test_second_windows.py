"""A second guard sees as much of a trajectory as the first, and says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stepguard import Guard, Step
from stepguard.second import Second
from stepguard.session import Session
from stepguard.taxonomy import Calibration
from tests.front.fakes import FakeEngine, asked_texts, make_guard
from tests.front.second.pairs import PROFILE, Loads


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
