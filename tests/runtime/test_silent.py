"""Nothing leaves the machine: no socket, no foreign thread, no file outside model and temp."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.front.small_screen import make_screen

SCRIPT = """
import os, time
from stepguard import Guard
threads = lambda: len(os.listdir("/proc/self/task"))
before = threads()
guard = Guard.load({model!r}, threads=2, screen={screen!r})
verdicts = guard.moderate({{"profile": "p", "contents": [
    {{"role": "user", "content": "hello"}},
    {{"role": "environment", "content": "attack"}},
    {{"role": "agent", "thought": "", "action": "ls{{}}"}},
]}})
assert len(verdicts) == 1
assert bool(verdicts[0].screened) == ({screen!r} is not None)
running = threads() - before
time.sleep({seconds})
later = threads() - before
guard.close()
time.sleep(0.2)
print("THREADS", running, later, threads() - before)
"""


def trace(model: Path, home: Path, seconds: int, screen: Path | None = None) -> tuple[str, str]:
    """Standard output and the strace log of load, moderate, a pause and close."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    log = home / "strace.log"
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "TMPDIR": str(home / "tmp")}
    env["PYTHONDONTWRITEBYTECODE"] = "1"  # compiled modules are Python's own business
    if "PYTHONPATH" in os.environ:
        env["PYTHONPATH"] = os.environ["PYTHONPATH"]
    (home / "tmp").mkdir()
    calls = "trace=network,open,openat,creat,mkdir,rename"
    done = subprocess.run(
        [strace, "-f", "-qq", "-e", calls, "-o", str(log), sys.executable, "-c",
         SCRIPT.format(model=str(model), seconds=seconds, screen=screen and str(screen))],
        env=env, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    if "ptrace" in done.stderr.lower() and done.returncode != 0:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, log.read_text()


def check(stdout: str, log: str, home: Path) -> None:
    sockets = [line for line in log.splitlines() if "socket(" in line and "AF_UNIX" not in line]
    assert not sockets, sockets
    connects = [line for line in log.splitlines() if "connect(" in line and "AF_UNIX" not in line]
    assert not connects, connects
    written = re.findall(
        r'(?:openat\(AT_FDCWD, |creat\(|open\()"([^"]+)", [^)]*O_(?:WRONLY|RDWR)', log
    )
    allowed = (str(home / "tmp"), str(home / ".cache" / "stepguard"), "/dev/")
    outside = [path for path in written if not path.startswith(allowed)]
    assert not outside, outside
    running, later, after = map(int, stdout.split("THREADS ")[1].split())
    # Ours: the worker and one pool thread beside it; Python's own are not started by a load.
    assert (running, later, after) == (2, 2, 0)


def test_load_moderate_close_is_silent(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    stdout, log = trace(tiny_models["int8"], tmp_path, seconds=1)
    check(stdout, log, tmp_path)


def test_a_screen_is_silent_too(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    screen = make_screen(tmp_path / "screen")
    (tmp_path / "home").mkdir()
    stdout, log = trace(tiny_models["int8"], tmp_path / "home", seconds=1, screen=screen)
    check(stdout, log, tmp_path / "home")
    opened = {line.split('"')[1] for line in log.splitlines() if '"' in line}
    assert len({path for path in opened if "libonnxruntime.so" in path}) == 1
    assert not any(path.endswith("onnxruntime/__init__.py") for path in opened)


@pytest.mark.slow
def test_fifteen_seconds_later_still_silent(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    stdout, log = trace(tiny_models["int8"], tmp_path, seconds=15)
    check(stdout, log, tmp_path)
