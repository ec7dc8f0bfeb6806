"""A larger guard judges what the first one is unsure about."""

from __future__ import annotations

from pathlib import Path

from stepguard import Status, Trajectory
from tests.front.fakes import FakeEngine, make_guard
from tests.front.second.pairs import PROFILE, STEPS, Loads, alone, cascade


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
        assert verdict.margin == alone(STEPS[:steps]).judge().margin
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
        assert verdict.second.result().margin == alone(steps).judge().margin
    assert [verdict.margin for verdict in verdicts] == [
        verdict.margin
        for verdict in make_guard(FakeEngine()).moderate(Trajectory(PROFILE, tuple(STEPS)))
    ]
    assert second.loads == len(loads) == 1
