"""The loss falls, a killed run ends in the same bits, and an export is what was trained."""

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

import numpy as np
import pytest

pytest.importorskip("peft")
torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from stepguard import Guard  # noqa: E402
from stepguard.cli import main  # noqa: E402
from stepguard.errors import TrainingError  # noqa: E402
from stepguard.export import export_model  # noqa: E402
from stepguard.runtime import Segment  # noqa: E402
from stepguard.train.lora.base import open_base  # noqa: E402
from stepguard.train.lora.hold import hold  # noqa: E402
from stepguard.train.lora.loop import Trainer, rate_at  # noqa: E402
from stepguard.train.lora.scoring import Scorer, settings_of  # noqa: E402
from stepguard.train.lora.settings import Settings  # noqa: E402
from stepguard.train.lora.store import steps_of  # noqa: E402
from stepguard.train.records import read_records  # noqa: E402
from tests.train.lora_runs import pack, tiny, trainer, write_records  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    tiny(folder / "base")
    write_records(folder / "data.jsonl", 8, actions=2)
    return folder


def run(place: Path, out: Path, **settings: Any) -> Trainer:
    return trainer(
        place / "base", place / "data.jsonl", out, **{"dropout": 0.1, "batch": 2} | settings
    )


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """A run that was not interrupted: eight steps."""
    out = place / "whole"
    sitting = run(place, out).sit(every=3)
    assert (sitting.begun, sitting.done, sitting.total, sitting.finished) == (0, 8, 8, True)
    return out


def weights(checkpoint: Path) -> dict[str, Any]:
    return load_file(checkpoint / "adapter_model.safetensors")


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


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


@pytest.mark.slow
def test_the_loss_falls_and_labels_are_learned(place: Path, tmp_path: Path) -> None:
    sitting = run(place, tmp_path, dropout=0.0, epochs=15, rate=3e-3).sit(every=1000)
    assert np.mean(sitting.losses[-4:]) < 0.3 * np.mean(sitting.losses[:4])
    assert len(steps_of(tmp_path)) == 1
    base = open_base(place / "base", taxonomy="base")
    packed = pack(base, read_records([place / "data.jsonl"]))
    scorer = Scorer(base, settings_of(tmp_path))
    before = [scorer.score(one).margins for one in packed]
    scorer.take(steps_of(tmp_path)[0])
    signs = [
        (margin > 0) == question.unsafe
        for one in packed
        for margin, question in zip(scorer.score(one).margins, one.questions, strict=True)
    ]
    assert np.mean(signs) > 0.9
    assert before != [scorer.score(one).margins for one in packed]


@pytest.mark.slow
def test_bf16_layers_below_give_nearly_the_same(place: Path, tmp_path: Path) -> None:
    one = run(place, tmp_path / "fp32", dropout=0.0).sit()
    other = run(place, tmp_path / "bf16", dropout=0.0, precision="bf16").sit()
    again = run(place, tmp_path / "again", dropout=0.0, precision="bf16").sit()
    assert other.losses == again.losses
    assert other.losses != one.losses
    assert other.losses == pytest.approx(one.losses, rel=0.1)


@pytest.mark.slow
def test_another_seed_is_another_adapter(place: Path, whole: Path, tmp_path: Path) -> None:
    run(place, tmp_path, seed=1).sit()
    assert not same(tmp_path / "step-000008", whole / "step-000008")


@pytest.mark.slow
def test_all_layers_may_learn(place: Path, tmp_path: Path) -> None:
    run(place, tmp_path, layers=3).sit()
    assert len(weights(steps_of(tmp_path)[-1])) == 3 * 2 * 7
    assert not (tmp_path / "lower").exists()
    with pytest.raises(TrainingError, match="train-layers: expected at most 3, got 4"):
        run(place, tmp_path / "more", layers=4)


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


def test_the_rate_rises_and_falls() -> None:
    settings = Settings(layers=1, rate=1e-3, warmup=0.1)
    rates = [rate_at(step, 100, settings) for step in range(100)]
    assert max(rates) == rates[9] == 1e-3
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 1e-5


def test_an_export_gives_what_peft_gives(place: Path, whole: Path, tmp_path: Path) -> None:
    """The float32 export of base and adapter against transformers with PEFT."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(place / "base", dtype=torch.float32).eval()
    checkpoint = steps_of(whole)[-1]
    # A larger adapter than eight steps make: one that would show where it is not merged.
    loud = Path(shutil.copytree(checkpoint, tmp_path / "loud"))
    from safetensors.torch import save_file

    save_file({n: 3 * w for n, w in weights(loud).items()}, loud / "adapter_model.safetensors")
    export_model(
        place / "base",
        tmp_path / "model",
        quant="float32",
        template="short",
        taxonomy="base",
        adapter=loud,
    )
    base = open_base(place / "base", taxonomy="base")
    (row,) = pack(base, read_records([place / "data.jsonl"]))[1].rows
    index, question = next((i, q) for i, q in enumerate(row.questions) if q.labels)
    choices = [question.verdict, *(one for part in question.labels for one in part)]
    ids, branch = row.prefix(index), row.branches[index]
    with torch.no_grad():
        before = plain(torch.from_numpy(ids)[None]).logits[0]
        expected = PeftModel.from_pretrained(plain, loud)(torch.from_numpy(ids)[None]).logits[0]
    moved = []
    with Guard.load(tmp_path / "model", save_prefix=False, kv="fp32") as guard:
        engine = guard._reader.engine
        for choice in choices:
            at = branch.fork + choice.at - branch.begin
            wanted = list(choice.ids)
            rows = np.array(wanted, np.int32)
            text = ids[: at + 1].astype(np.int32)
            (result,) = engine.submit([Segment(text, engine.root, read=rows)]).wait()
            assert result.reason == "", result.message
            assert np.abs(result.logits - expected[at, wanted].numpy()).max() < 1e-3
            moved.append(float((expected[at, wanted] - before[at, wanted]).abs().max()))
    assert max(moved) > 0.1


KILLED = """
import sys, pathlib, torch
torch.set_num_threads(1)
from tests.train.lora_runs import trainer
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
