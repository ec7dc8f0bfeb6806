"""Commands of stepguard in a process of their own, so that their memory is theirs alone."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from stepguard.errors import StepguardError


@dataclass(frozen=True)
class Ran:
    """What a command printed, how long it took and the most bytes that it had resident.

    `cpu_seconds` is what all of its threads took, which other programs lengthen little.
    """

    output: str
    seconds: float
    peak: int
    cpu_seconds: float


def run_command(*words: str | Path, allowed: Collection[int] = (0,)) -> Ran:
    """`stepguard WORDS...`; what it says on stderr is shown, what it prints is returned.

    Raises:
        StepguardError: it ended with another status than the allowed ones.
    """
    with tempfile.TemporaryDirectory(prefix="stepguard-") as folder:
        file = Path(folder) / "facts"
        started = time.perf_counter()
        output = run_module("stepguard.bench.peak", file, *words, allowed=allowed)
        seconds = time.perf_counter() - started
        return Ran(output, seconds, **json.loads(file.read_text(encoding="utf-8")))


def run_module(
    module: str,
    *words: str | Path,
    given: str = "",
    allowed: Collection[int] = (0,),
    environment: dict[str, str] | None = None,
) -> str:
    """`python -m MODULE WORDS...` with `given` on its standard input; returns what it printed.

    Ctrl-C reaches this process alone, which ends the other one: it has nothing to say of it.
    """
    command = [sys.executable, "-m", module, *map(str, words)]
    done = subprocess.run(
        command,
        input=given,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        check=False,
        start_new_session=True,
    )
    if done.returncode not in allowed:
        raise StepguardError(
            " ".join(command), expected="it to run", got=how_ended(done.returncode)
        )
    return done.stdout


def how_ended(status: int) -> str:
    """The status of a process that ended, in words: "exit status 3", "killed by SIGILL"."""
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):  # a number without a name
        return f"killed by {signal.Signals(-status).name}"
    return f"killed by signal {-status}"
