"""A folder of a second guard, and the engines of those that were loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepguard import Guard
from tests.front.diagnosable import make_diagnosable
from tests.front.fakes import FakeEngine
from tests.front.second.pairs import Loads


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
