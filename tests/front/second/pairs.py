"""A first guard and a second one on fake engines, and what the second says by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepguard import Guard, Status, Step
from stepguard.second import Second
from stepguard.session import Session
from stepguard.taxonomy import Calibration, Verdict
from tests.front.diagnosable import make_diagnosable
from tests.front.fakes import FakeEngine, make_guard

PROFILE = "An agent."
BAND = Calibration(1.0, 0.0, 0.2, 0.8)
STEPS = [Step.user("Pay."), *(Step.agent("I pay.", f"pay({i})") for i in range(60))]
Loads = list[FakeEngine]


class Held:
    """Loading a guard begins, and goes on when it may."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.began, self.may_load = threading.Event(), threading.Event()
        load = Guard.load

        def slow(path: Path, **_: Any) -> Guard:
            self.began.set()
            assert self.may_load.wait(10)
            return load(path)

        patch.setattr(Guard, "load", slow)


def paired(folder: Path, **options: Any) -> tuple[Guard, Second]:
    second, first = Second(folder, **options), make_guard(FakeEngine())
    return Guard(first.manifest, first.prompt, first._reader, diagnoser=second), second


def cascade(folder: Path, **options: Any) -> tuple[Guard, Second]:
    second, first = Second(folder, **options), make_guard(FakeEngine())
    judge = replace(first._reader.judge, calibration=BAND)
    reader = replace(first._reader, judge=judge)
    return Guard(first.manifest, first.prompt, reader, larger=second), second


def alone(steps: list[Step]) -> Session:
    """A session of the second guard that reads these steps by itself."""
    session = make_diagnosable(FakeEngine()).session(PROFILE, diagnose=False)
    for step in steps:
        session.observe(step)
    return session


def until(push: Callable[[Step], Verdict], status: Status, start: int = 1) -> tuple[Verdict, int]:
    """Pushes steps until a verdict has this status; it, and how many steps there are then."""
    for index in range(start, len(STEPS)):
        verdict = push(STEPS[index])
        if verdict.status is status:
            return verdict, index + 1
    raise AssertionError(f"never {status}")
