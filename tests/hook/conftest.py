"""The hook, built once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hook.hook_program import SANITIZE, SOURCES, build


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With sanitizers: a fault in it is an exit status that no test expects."""
    return build(tmp_path_factory.mktemp("hook"), "stepguard-hook", SOURCES, *SANITIZE)
