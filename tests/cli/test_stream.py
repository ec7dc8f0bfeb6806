"""stepguard moderate OUT -: a verdict as soon as an action comes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stepguard.cli import stream
from tests.cli.ran import Ran
from tests.front.fakes import FakeEngine, make_guard
from tests.front.test_guard import TRAJECTORY

Run = Callable[..., Ran]
STEPS = [step for part in TRAJECTORY["contents"] for step in part]
LINES = [json.dumps({"profile": TRAJECTORY["profile"]}), *map(json.dumps, STEPS)]


class Stdin:
    """Standard input with these lines."""

    def __init__(self, *lines: str | bytes) -> None:
        data = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
        self.buffer = io.BytesIO(data)


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    return lambda *lines: monkeypatch.setattr(sys, "stdin", Stdin(*lines))


def test_the_verdicts_are_those_of_the_file(
    run: Run, engine: FakeEngine, feed: Any, tmp_path: Path
) -> None:
    feed(*LINES)
    ran = run("moderate", "model", "-")
    found = [json.loads(line) for line in ran.out.splitlines()]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(TRAJECTORY))
    whole = json.loads(run("moderate", "model", path, "--json").out)
    expected = whole["trajectories"][0]["verdicts"]
    for one in (*found, *expected):
        del one["latency_ms"]
    assert found == expected
    assert ran.status == whole["exit_status"]


def test_each_verdict_before_the_next_line() -> None:
    out = io.StringIO()
    seen: list[int] = []

    def lines() -> Iterator[bytes]:
        for line in LINES:
            seen.append(out.getvalue().count("\n"))
            yield line.encode() + b"\n"

    stream.moderate(make_guard(FakeEngine()), lines(), out)
    assert seen == [0, 0, 0, 1, 1, 1, 1, 2]


def test_without_an_action_one_verdict_at_the_end(run: Run, engine: FakeEngine, feed: Any) -> None:
    feed(LINES[0], LINES[1], "", LINES[3], "")
    (line,) = run("moderate", "model", "-").out.splitlines()
    assert json.loads(line)["step"] == 1


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([], "standard input: line 1: expected"),
        (["[]"], "line 1"),
        ([LINES[1]], 'line 1: expected {"profile": TEXT}'),
        (['{"profile": 3}'], "line 1"),
        ([LINES[0]], "a step after the profile"),
        ([LINES[0], "{"], "line 2: expected JSON"),
        ([LINES[0], b"\xff\xfe"], "line 2: expected JSON"),
        ([LINES[0], "", LINES[1], '{"role": "agent'], "line 4: expected JSON"),
        ([LINES[0], '{"role": "robot"}'], "line 2: step.role"),
        ([LINES[0], "3"], "line 2: step: expected"),
    ],
)
def test_a_bad_line_is_named(
    run: Run, engine: FakeEngine, feed: Any, lines: list[str], text: str
) -> None:
    feed(*lines)
    ran = run("moderate", "model", "-")
    assert ran.status == 1
    note, error = ran.err.splitlines()
    assert "never trained to judge" in note
    assert text in error


def test_what_came_before_a_bad_line_was_answered(run: Run, engine: FakeEngine, feed: Any) -> None:
    feed(*LINES[:3], "{")
    ran = run("moderate", "model", "-")
    assert ran.status == 1
    assert len(ran.out.splitlines()) == 1


SERVER = """
import sys
from stepguard.guard import Guard
from tests.front.fakes import FakeEngine, make_guard
Guard.load = lambda *_, **__: make_guard(FakeEngine())
from stepguard.cli import main
sys.exit(main(["moderate", "model", "-"]))
"""


def test_through_real_pipes() -> None:
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
    )
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write("\n".join(LINES[:3]) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["step"] == 1
        process.stdin.write(LINES[3] + "\n")
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.wait(30) in (0, 10)
    finally:
        watchdog.cancel()
        process.kill()
        process.stdout.close()
        process.wait()
