"""A folder has one run, and one sitting at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("peft")
torch = pytest.importorskip("torch")

from stepguard.cli import main  # noqa: E402
from stepguard.errors import TrainingError  # noqa: E402
from stepguard.train.lora.hold import hold  # noqa: E402
from stepguard.train.lora.settings import Settings  # noqa: E402
from tests.train.lora.runs import trainer, write_records  # noqa: E402
from tests.train.lora.sittings import run  # noqa: E402

torch.set_num_threads(1)


def test_another_run_is_another_folder(place: Path, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="settings") as caught:
        run(place, whole, rank=8)
    assert "'rank': 8" in str(caught.value)
    fewer = write_records(tmp_path / "fewer.jsonl", 4)
    with pytest.raises(TrainingError, match="records_sha256"):
        trainer(place / "base", fewer, whole, dropout=0.1, batch=2)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("mine")
    with pytest.raises(TrainingError, match="other files"):
        run(place, tmp_path / "other")
    with pytest.raises(TrainingError, match="rate: expected a number between 0 and 1"):
        Settings(layers=1, rate=3.0)


HELD = """
import sys, pathlib
from stepguard.train.lora.hold import hold
lock = hold(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_has_one_sitting_at_a_time(
    place: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "run"))
    (out / ".step-000009").mkdir()  # what the other one is writing
    before = sorted(out.rglob("*"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])}
    with subprocess.Popen(
        [sys.executable, "-c", HELD, str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(TrainingError, match=f"no other sitting .* got process {process.pid}"):
            run(place, out)
        write_records(place / "validation.jsonl", 8, seed=1, actions=2)
        safe = write_records(place / "safe-validation.jsonl", 1, seed=2, actions=2)
        files = (place / "validation.jsonl", write_records(place / "other-dev.jsonl", 8), safe)
        options = [
            word
            for name, file in zip(("inside", "outside", "safe"), files, strict=True)
            for word in (f"--{name}", str(file))
        ]
        command = ["train", "choose", str(place / "base"), str(out), "--taxonomy", "base"]
        assert main([*command, *options]) == 1
        assert f"got process {process.pid}" in capsys.readouterr().err
        assert {*before, out / ".run.lock"} == set(out.rglob("*"))
        process.kill()  # the lock ends with the process
    first = run(place, out)
    with pytest.raises(TrainingError, match="got one in this process"):
        run(place, out)
    assert first.sit().finished
    with pytest.raises(TrainingError, match="a trainer for each sitting"):
        first.sit()
    assert run(place, out).sit().finished
    with pytest.raises(TrainingError, match="usable file"):
        hold(tmp_path / "missing")
