"""SIGTERM: what a command made for a while goes, and so do the processes that it started."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stepguard.bench.ending import ending
from stepguard.cli import main


def test_it_ends_once_and_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    cleaned = []

    def run(_: argparse.Namespace) -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # does not break off what cleans up
            cleaned.append(True)
        return 0

    with pytest.raises(SystemExit) as stop:
        ending(run)(argparse.Namespace())
    assert stop.value.code == 128 + signal.SIGTERM
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) == before


def test_every_command_of_bench_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []
    monkeypatch.setattr(
        "stepguard.bench.run_make.find_shape",
        lambda _: heard.append(signal.getsignal(signal.SIGTERM)) or 1 / 0,
    )
    with pytest.raises(ZeroDivisionError):
        main(["bench", "make-model", "--shape", "x", "out"])
    assert heard[0] not in (signal.SIG_DFL, signal.SIG_IGN, None)


def test_beside_the_main_thread_nothing_is_touched() -> None:
    found: list[int] = []
    thread = threading.Thread(
        target=lambda: found.append(ending(lambda _: 7)(argparse.Namespace()))
    )
    thread.start()
    thread.join()
    assert found == [7]


def children(process: int) -> list[int]:
    """Processes that it has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == process:
            found.append(int(stat.parent.name))
    return found


def _heed_ctrl_c() -> None:
    """Whoever runs the tests in the background has it ignored, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def begin(words: list[str], folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """The command in a group of its own, once it has started a process; and these."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(
        [sys.executable, "-m", "stepguard", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_heed_ctrl_c,
    )
    until = time.monotonic() + 60
    started: list[int] = []
    while not started and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
        started = children(process.pid)
    assert started
    time.sleep(0.2)
    return process, started


@pytest.mark.parametrize("command", ["memory", "neighbours"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_folders_and_processes_go(
    tiny_guards: dict[str, Path], tmp_path: Path, command: str, number: signal.Signals
) -> None:
    """With as much to do that it would not be done by itself before long. Ctrl-C goes to the whole
    group, and nobody in it has a traceback to show."""
    step = ["--context", "32", "--step", "8", "--repeats", "1", "--loops", "numpy"]
    much = {"memory": ["--context", "450"], "neighbours": [*step, "--idle", "600"]}
    words = ["bench", command, str(tiny_guards["int8"]), "--threads", "1", *much[command]]
    process, started = begin(words, tmp_path)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert list(tmp_path.glob("stepguard-*")) == []
    until = time.monotonic() + 30
    while any(Path(f"/proc/{one}").exists() for one in started) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{one}").exists() for one in started)
