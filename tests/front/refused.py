"""Errors that have all their parts, and processes that have to end well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from stepguard import Step
from stepguard.errors import StepguardError

ROOT = Path(__file__).resolve().parents[2]
ACTION = Step.agent(thought="", action="call()")


def complete(error: StepguardError) -> None:
    """All four parts are there, and in the text."""
    for part in (error.where, error.expected, error.got, error.fix):
        assert part
        assert part in str(error)


def python(*words: str | Path, **environment: str) -> str:
    """What a Python process prints that must end well."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-300:]}{done.stderr[-3000:]}"
    return done.stdout
