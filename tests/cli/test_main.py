"""The command as a whole: help, errors, interruptions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stepguard import __version__
from stepguard.cli import moderate
from tests.cli.ran import Ran

COMMANDS = ["export", "inspect", "moderate", "train", "info", "default", "bench"]
Run = Callable[..., Ran]


def test_help_teaches(run: Run) -> None:
    ran = run("--help")
    assert ran.status == 0
    for name in COMMANDS:
        assert re.search(rf"^    {name} ", ran.out, re.MULTILINE)
    assert "stepguard moderate OUT trajectory.json" in ran.out


def test_it_says_its_version(run: Run) -> None:
    ran = run("--version")
    assert (ran.status, ran.out) == (0, f"stepguard {__version__}\n")


@pytest.mark.parametrize("name", COMMANDS[:-1])
def test_every_command_has_an_example(run: Run, name: str) -> None:
    ran = run(name, "--help")
    assert ran.status == 0
    assert re.search(rf"^  (\S+ \| )?stepguard {name}\b", ran.out, re.MULTILINE)


@pytest.mark.parametrize(
    "words", [[], ["fly"], ["moderate"], ["moderate", "a", "b", "--threads", "0"], ["info", "x"],
              ["calibrate", "a", "b", "--target-fnr", "0.1", "--threads", "0"],
              ["calibrate", "a", "b", "--target-fnr", "0.1", "--limit", "0"],
              ["calibrate", "a", "b", "--target-fnr", "0.1", "--mode", "loud"],
              ["moderate", "a", "b", "--kv", "fp8"], ["export", "a", "b", "--quant", "int3"],
              ["export", "a", "b", "--prompt", "f", "--template", "short"]]
)  # fmt: skip
def test_wrong_usage(run: Run, words: list[str]) -> None:
    ran = run(*words)
    assert ran.status == 2
    assert ran.out == ""
    assert "usage: stepguard" in ran.err


def test_an_error_is_one_harmless_line(run: Run, tmp_path: Path) -> None:
    ran = run("inspect", tmp_path / "a\x1b[2Jb")
    assert ran.status == 1
    assert ran.out == ""
    assert ran.err.startswith("stepguard: ModelFormatError: ")
    assert "\x1b" not in ran.err
    assert "\\x1b[2Jb" in ran.err


def test_ctrl_c(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> list[object]:
        raise KeyboardInterrupt

    monkeypatch.setattr(moderate, "read_trajectories", interrupted)
    assert run("moderate", "model", "file") == Ran(130, "", "")


def test_a_full_disk(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> list[object]:
        raise OSError(28, "No space left on device", "here")

    monkeypatch.setattr(moderate, "read_trajectories", full)
    ran = run("moderate", "model", "file")
    assert (ran.status, ran.err) == (1, "stepguard: here: No space left on device\n")


@pytest.mark.parametrize("words", [["info"], ["moderate", "--help"]])
def test_a_broken_pipe_is_quiet(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "stepguard", *words]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, env=env, check=False)
    assert done.stderr == b""
    assert done.returncode == 141


def test_the_bench_is_loaded_late(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stepguard.bench.cli", None)
    assert run("--help").status == 0
    ran = run("bench", "growth")
    assert ran.status == 1
    assert "pip install 'stepguard[bench]'" in ran.err
