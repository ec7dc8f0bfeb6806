"""A guard on a fake engine."""

from __future__ import annotations

import pytest

from stepguard.guard import Guard
from tests.front.fakes import FakeEngine, make_guard


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def guard(engine: FakeEngine) -> Guard:
    return make_guard(engine)
