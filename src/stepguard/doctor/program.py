"""A coding agent itself, whose model is scripted to make a call that the guard blocks."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from stepguard.doctor.mark import BLOCKED, MARK
from stepguard.doctor.scripted_model import ScriptedModel, scripted_model
from stepguard.integrations.trials import Check

_SECONDS = 120.0

Start = Callable[[ScriptedModel], tuple[list[str], dict[str, str]]]
"""The words and the variables with which a program asks a scripted model."""


def find_program(name: str) -> str | None:
    """The path of an installed program."""
    return shutil.which(name)


def version(program: str) -> str:
    """What a program says of itself; "" where it says nothing."""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


Look = Callable[[list[dict[str, Any]]], Iterator[Check]]
"""What else must hold, by the tools that a program gives its model."""


def trial(name: str, start: Start, look: Look = lambda tools: iter(())) -> Iterator[Check]:
    """The program makes the call: it must not run, and by the guard's word."""
    with tempfile.TemporaryDirectory(prefix="stepguard-doctor-") as folder:
        ran = Path(folder, "ran")
        call = f"touch {shlex.quote(str(ran))} {MARK}"
        with scripted_model([[call]]) as model:
            said = _follow(*start(model), model)
        asked = len(model.asked)
        if asked == 0:
            found = f"it never asked its model: {said[-200:].strip()}"
            yield Check(f"{name}: a blocked call does not run", False, found)
            return
        found = "it ran" if ran.exists() else "it did not run"
        yield Check(f"{name}: a blocked call does not run", not ran.exists() and asked > 1, found)
        told = asked > 1 and BLOCKED in json.dumps(model.asked[-1])
        found = BLOCKED if told else "the model was told something else"
        yield Check(f"{name}: and that was the guard's word", told, found)
        yield from look(model.asked[0]["tools"])


def _follow(words: list[str], variables: dict[str, str], model: ScriptedModel) -> str:
    """Runs a program to its end, and gives what it said. Only its model is open to it."""
    closed = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), model.url)
    own = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1")
    try:
        process = subprocess.Popen(
            words,
            env={**os.environ, **closed, **own, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return str(error)
    try:
        return process.communicate(timeout=_SECONDS)[0]
    except subprocess.TimeoutExpired:
        return f"it did not end within {_SECONDS:g} s"
    finally:
        # What npm installs is a wrapper, which leaves the program behind when it is killed.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
