"""The examples do what they say, on real weights too."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stepguard import Guard, Step, Trajectory
from tests.front.fakes import FakeEngine, make_guard

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def stream() -> Trajectory:
    lines = (EXAMPLES / "stream.jsonl").read_text(encoding="utf-8").splitlines()
    profile, *steps = map(json.loads, lines)
    return Trajectory(profile["profile"], tuple(map(Step.from_dict, steps)))


def trajectory() -> Trajectory:
    return Trajectory.from_dict(json.loads((EXAMPLES / "trajectory.json").read_text()))


@pytest.mark.parametrize("read", [stream, trajectory])
def test_they_are_trajectories_with_three_actions(read: Callable[[], Trajectory]) -> None:
    assert sum(step.is_action for step in read().steps) == 3
    verdicts = make_guard(FakeEngine()).moderate(read())
    assert len(verdicts) == 3
    # An injected order, but no imitation of the template.
    assert verdicts[-1].neutralised == 0


def test_the_program_is_short() -> None:
    assert len((EXAMPLES / "example.py").read_text().splitlines()) < 40


@pytest.mark.slow
def test_the_program_runs(smol_model: Callable[[str], Path]) -> None:
    command = [sys.executable, EXAMPLES / "example.py", smol_model("int4")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert done.stderr == ""
    assert "never trained" in done.stdout
    assert done.stdout.count(" ms  ") == 2


@pytest.mark.slow
@pytest.mark.parametrize("quant", ["float32", "int8", "int4"])
def test_at_once_is_step_by_step_on_real_weights(
    smol_model: Callable[[str], Path], quant: str
) -> None:
    with Guard.load(smol_model(quant), memory=256 << 20) as guard:
        for read in (stream, trajectory):
            at_once = [verdict.margin for verdict in guard.moderate(read())]
            with guard.session(read().profile) as session:
                steps = [(step.is_action, session.push(step).margin) for step in read().steps]
            assert [margin for is_action, margin in steps if is_action] == at_once


@pytest.mark.slow
def test_the_commands_on_real_weights(smol_model: Callable[[str], Path]) -> None:
    def run(*words: object, stdin: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stepguard", *map(str, words)]
        text = stdin.read_text() if stdin else ""
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)

    model = smol_model("int4")
    done = run("moderate", model, EXAMPLES / "trajectory.json", "--json")
    value = json.loads(done.stdout)
    assert done.returncode == value["exit_status"] in (0, 10)
    assert [v["step"] for v in value["trajectories"][0]["verdicts"]] == [1, 3, 5]
    done = run("moderate", model, "-", stdin=EXAMPLES / "stream.jsonl")
    assert [json.loads(line)["step"] for line in done.stdout.splitlines()] == [1, 3, 5]
    done = run("inspect", model)
    assert (done.returncode, done.stderr) == (0, "")
    assert "SmolLM2-135M-Instruct" in done.stdout
