"""Commands run inside this process, on a fake engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stepguard.cli import main
from stepguard.guard import Guard
from tests.cli.ran import Ran
from tests.front.fakes import FakeEngine, make_guard


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs `stepguard` with these words."""

    def command(*words: object) -> Ran:
        try:
            status = main([str(word) for word in words])
        except SystemExit as ending:
            status = int(ending.code or 0)
        found = capsys.readouterr()
        return Ran(status, found.out, found.err)

    return command


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """The engine of the guard that every command loads; its `loaded` are the options."""
    engine = FakeEngine()
    engine.loaded = []  # type: ignore[attr-defined]

    def load(path: str, **options: Any) -> Guard:
        engine.closed = 0
        engine.loaded.append({"path": path, **options})  # type: ignore[attr-defined]
        return make_guard(engine)

    monkeypatch.setattr(Guard, "load", load)
    return engine


@pytest.fixture
def answering(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the coming verdicts these statuses, in order; the last one goes on."""

    def plan(*statuses: str) -> None:
        left = list(statuses)

        def margin(*_: object) -> float:
            status = left.pop(0) if len(left) > 1 else left[0]
            return {"safe": -2.0, "unsafe": 2.0, "unsure": 0.0, "numeric": float("nan")}[status]

        monkeypatch.setattr("stepguard.taxonomy.LabelRows.margin", margin)

    return plan
