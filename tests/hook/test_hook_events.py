"""Events that cannot be read, and usage that is wrong: nothing runs, and it is said."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.hook.asking import DENY, EVENT, ask, reason
from tests.hook.hook_program import answer, serving


@pytest.mark.parametrize("event", [b"", b" " * ((16 << 20) + 1)])
def test_events_that_cannot_be_read(program: Path, tmp_path: Path, event: bytes) -> None:
    with serving(tmp_path / "s", lambda c: c.sendall(answer(b""))):
        done = ask(program, tmp_path / "s", event=event)
    assert "could not be read" in reason(done)


def test_an_event_that_never_ends(program: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    command = [str(program), "codex", "--socket", str(tmp_path / "s"), "--timeout-ms", "200"]
    done = subprocess.run(command, stdin=read, capture_output=True, timeout=20, check=False)
    os.close(read)
    os.close(write)
    assert "could not be read" in reason(done)


def test_a_large_event_arrives_whole(program: Path, tmp_path: Path) -> None:
    event = os.urandom(3 << 20)
    with serving(tmp_path / "s", lambda c: c.sendall(answer(b""))) as received:
        assert ask(program, tmp_path / "s", event=event).stdout == b""
    assert received[0].partition(b"\r\n\r\n")[2] == event


def test_events_that_no_tool_waits_for_fail_loudly(program: Path, tmp_path: Path) -> None:
    failed = ask(program, tmp_path / "none", "--observe")
    assert (failed.returncode, failed.stdout) == (2, b"")
    assert b"cannot be reached" in failed.stderr
    with serving(tmp_path / "s", lambda c: c.sendall(answer(DENY))):
        assert ask(program, tmp_path / "s", "--observe").returncode == 2
    with serving(tmp_path / "s", lambda c: c.sendall(answer(b""))):
        done = ask(program, tmp_path / "s", "--observe")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["claude"],
        ["codex"],
        ["codex", "--socket"],
        ["codex", "--socket", ""],
        ["codex", "--socket", "x" * 200],
        ["codex", "--socket", "s", "--uid", "-1"],
        ["codex", "--socket", "s", "--uid", "4294967295"],
        ["codex", "--socket", "s", "--timeout-ms", "0"],
        ["codex", "--socket", "s", "--timeout-ms", "99999999999"],
        ["codex", "--socket", "s", "--allow"],
    ],
)
def test_wrong_usage_blocks(program: Path, words: list[str]) -> None:
    done = subprocess.run([program, *words], input=EVENT, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"usage: stepguard-hook")
