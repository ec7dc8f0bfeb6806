"""A guard that has labels, and a session that can be diagnosed."""

from __future__ import annotations

import pytest

from stepguard import Guard
from stepguard.session import Session
from tests.front.diagnosable import make_diagnosable
from tests.front.diagnosis.dug import PROFILE, STEPS
from tests.front.fakes import FakeEngine


@pytest.fixture
def guard(engine: FakeEngine) -> Guard:
    return make_diagnosable(engine)


@pytest.fixture
def session(guard: Guard) -> Session:
    """A session at the end of STEPS."""
    session = guard.session(PROFILE, diagnose=False)
    for step in STEPS:
        session.push(step)
    return session
