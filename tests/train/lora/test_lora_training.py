"""A run that is cut off or killed ends in the same bits."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft")
torch = pytest.importorskip("torch")

from stepguard.train.lora.store import steps_of  # noqa: E402
from tests.train.lora.sittings import run, same, weights  # noqa: E402

torch.set_num_threads(1)


def test_checkpoints_are_adapters(place: Path, whole: Path) -> None:
    assert [path.name for path in steps_of(whole)] == ["step-000003", "step-000006", "step-000008"]
    names = {"adapter_config.json", "adapter_model.safetensors", "state.json"}
    for folder in steps_of(whole):
        newest = {"optimiser.safetensors"} if folder == steps_of(whole)[-1] else set()
        assert {path.name for path in folder.iterdir()} == names | newest
    assert not same(steps_of(whole)[0], steps_of(whole)[1])
    found = weights(steps_of(whole)[-1])
    assert len(found) == 2 * 2 * 7  # A and B of seven matrices of two of the three layers
    assert all(".layers.1." in name or ".layers.2." in name for name in found)
    config = json.loads((steps_of(whole)[0] / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "base"  # no path of this machine
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))


def test_a_run_that_is_cut_off_ends_in_the_same_bits(
    place: Path, whole: Path, tmp_path: Path
) -> None:
    class CutError(Exception):
        pass

    def cut(at: int) -> Any:
        def progress(done: int, _total: int) -> None:
            if done == at:
                raise CutError

        return progress

    out = tmp_path / "run"
    for at in (1, 5):  # before a checkpoint, and behind the first
        with pytest.raises(CutError):
            run(place, out).sit(every=3, progress=cut(at))
    index = next((out / "lower").glob("*.jsonl"))
    index.write_text(index.read_text()[:-7])  # cut off in a line
    (out / ".step-000008").mkdir()  # and in a checkpoint
    sitting = run(place, out).sit(every=3)
    assert (sitting.begun, sitting.done) == (3, 8)
    assert same(out / "step-000008", whole / "step-000008")
    assert (out / "step-000008" / "optimiser.safetensors").read_bytes() == (
        whole / "step-000008" / "optimiser.safetensors"
    ).read_bytes()
    shutil.rmtree(out / "lower")
    again = run(place, out).sit()
    assert (again.begun, again.done, again.losses) == (8, 8, ())


def test_a_sitting_ends_in_time_at_a_checkpoint(place: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ticks = itertools.count(0, 20)  # twenty seconds a step
    first = run(place, out).sit(0.9, every=100, clock=lambda: float(next(ticks)))
    assert (first.begun, first.done) == (0, 2)  # a third one would have been over
    assert [path.name for path in steps_of(out)] == ["step-000002"]
    assert run(place, out).sit().done == 8
    assert same(out / "step-000008", whole / "step-000008")


KILLED = """
import sys, pathlib, torch
torch.set_num_threads(1)
from tests.train.lora.runs import trainer
place, out = map(pathlib.Path, sys.argv[1:])
def progress(done, total):
    print(done, flush=True)
run = trainer(place / "base", place / "data.jsonl", out, dropout=0.1, batch=2)
run.sit(every=3, progress=progress)
"""


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2, 4, 7])
def test_a_killed_process_loses_nothing(
    place: Path, whole: Path, tmp_path: Path, steps: int
) -> None:
    command = [sys.executable, "-c", KILLED, str(place), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == str(steps):
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "step-000008").exists()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    assert same(tmp_path / "step-000008", whole / "step-000008")
