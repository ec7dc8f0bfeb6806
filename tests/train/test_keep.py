"""From a checkpoint of a run to what is kept of the default guard."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stepguard.default_guard import Base
from stepguard.default_guard import kept as kept_module
from stepguard.default_guard.kept import read_calibrations, read_kept
from stepguard.errors import TrainingError
from stepguard.export import export_model
from stepguard.export.lora import read_adapter
from stepguard.guard import Guard
from stepguard.manifest import load
from stepguard.train.calibrate import Target
from stepguard.train.keep import keep_adapter
from stepguard.train.keep_calibrations import Job, keep_calibrations
from stepguard.train.lora.learned import Learned
from stepguard.train.records import Record, read_records
from stepguard.train.scores import score_records
from tests.export.adapters import write_adapter
from tests.export.tiny import make_checkpoint
from tests.train.lora.runs import write_records

BASE = Base("small_base", "small-base==1.0", "ab" * 32, "Apache-2.0")
ASKING = {"template": "short"}
SHAPES = {"model.layers.0.self_attn.q_proj": (60, 72), "model.layers.1.mlp.up_proj": (88, 72)}


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    path = write_records(tmp_path / "data.jsonl", 40)
    values = [json.loads(line) for line in path.read_text().splitlines()]
    for number, value in enumerate(values):
        value["license"] = "MIT"
        value.setdefault("meta", {})["model"] = f"model-{number % 2}"
        value["meta"]["family"] = f"f{number // 2}"
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return read_records([path])


@pytest.fixture
def checkpoint(tmp_path: Path, records: list[Record]) -> Path:
    """A run's folder with one checkpoint, which learned from the first eight records."""
    run = tmp_path / "run"
    write_adapter(run / "step-000003", SHAPES, base_model_name_or_path="base.gguf")
    text = Learned.of(records[:8]).text()
    (run / "learned.json").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    settings = {"rank": 3, "layers": 2, "batch": 2, "epochs": 1}
    write_run(run, base_sha256=BASE.sha256, learned_sha256=digest, settings=settings, records=8)
    write_state(run / "step-000003", step=3, total=4)
    return run / "step-000003"


def write_run(run: Path, **value: Any) -> None:
    (run / "run.json").write_text(json.dumps(value))


def write_state(checkpoint: Path, **value: int) -> None:
    (checkpoint / "state.json").write_text(json.dumps(value))


def test_the_adapter_is_kept_in_half_the_bytes(
    checkpoint: Path, records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = tmp_path / "kept"
    kept = keep_adapter(checkpoint, records, BASE, ASKING, into)
    monkeypatch.setattr(kept_module, "KEPT", into)
    assert read_kept() == kept
    assert (kept.checkpoint, kept.settings["rank"]) == ("step-000003", 3)
    assert (kept.given, kept.seen) == (8, 6)  # three steps of two
    (source,) = kept.learned.values()
    assert (source.records, source.licences) == (8, ("MIT",))
    assert source.models == {"model-0": 4, "model-1": 4}
    assert source.unsafe == sum(record.unsafe for record in records[:8])
    assert json.loads((into / "adapter_config.json").read_text())["base_model_name_or_path"] == (
        "small-base==1.0"
    )
    assert "model-1" in (into / "NOTICE").read_text()
    assert all(v.dtype == np.float16 for v in load_file(into / kept_module.ADAPTER).values())
    exact, rounded = read_adapter(checkpoint), read_adapter(into)
    errors = [
        np.linalg.norm(rounded[name].b @ rounded[name].a - low.b @ low.a)
        / np.linalg.norm(low.b @ low.a)
        for name, low in exact.items()
    ]
    assert kept.rounding == pytest.approx(max(errors), rel=0.05)
    assert 0 < kept.rounding < 1e-3


@pytest.mark.parametrize(("step", "epochs", "seen"), [(1, 2, 3), (3, 1, 8), (5, 2, 8), (6, 2, 8)])
def test_what_was_read_is_told_from_what_was_given(
    checkpoint: Path, records: list[Record], tmp_path: Path, step: int, epochs: int, seen: int
) -> None:
    run = json.loads((checkpoint.parent / "run.json").read_text())
    run["settings"] |= {"batch": 3, "epochs": epochs}
    write_run(checkpoint.parent, **run)
    write_state(checkpoint, step=step, total=3 * epochs)
    assert keep_adapter(checkpoint, records, BASE, ASKING, tmp_path / "kept").seen == seen


def test_the_same_checkpoint_gives_the_same_files(
    checkpoint: Path, records: list[Record], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        keep_adapter(checkpoint, records, BASE, ASKING, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_what_cannot_be_kept_is_refused(
    checkpoint: Path, records: list[Record], tmp_path: Path
) -> None:
    into = tmp_path / "kept"
    with pytest.raises(TrainingError, match="all 8 records of the run"):
        keep_adapter(checkpoint, records[1:], BASE, ASKING, into)
    llama = dataclasses.replace(records[0], meta={"model": "Llama-3"})
    with pytest.raises(TrainingError, match="Llama"):
        keep_adapter(checkpoint, [llama, *records[1:]], BASE, ASKING, into)
    other = dataclasses.replace(BASE, sha256="cd" * 32)
    with pytest.raises(TrainingError, match="an adapter of cdcd"):
        keep_adapter(checkpoint, records, other, ASKING, into)
    path = checkpoint / "adapter_model.safetensors"
    values = load_file(path)
    name = next(iter(values))
    values[name][0, 0] = 1e6
    save_file(values, path)
    with pytest.raises(TrainingError, match="values that fp16 can hold"):
        keep_adapter(checkpoint, records, BASE, ASKING, into)
    assert not (into / "guard.json").exists()


def relabelled(guard: Path, records: list[Record]) -> list[Record]:
    """Unsafe where a guard says so, mostly."""
    with Guard.load(guard, save_prefix=False, threads=1) as opened:
        largest = [max(one.margins) for one in score_records(opened, records)]
    border = float(np.median(largest))
    return [
        dataclasses.replace(record, unsafe=(value > border) != (i % 8 == 0), first_unsafe=None)
        for i, (record, value) in enumerate(zip(records, largest, strict=True))
    ]


def test_every_setting_gets_a_calibration_of_the_exported_model(
    checkpoint: Path, records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into, work = tmp_path / "kept", tmp_path / "work"
    base = make_checkpoint(tmp_path / "base", "llama", 2)
    kept = keep_adapter(checkpoint, records, BASE, ASKING, into)
    export_model(base, tmp_path / "guard", quant="int8", adapter=into, template="short")
    held_out = relabelled(tmp_path / "guard", records[8:])
    target = Target("fpr", 0.5, "conformal")
    job = Job(base, into, kept, held_out, target, work)
    work.mkdir()
    monkeypatch.setattr(kept_module, "KEPT", into)
    reports = keep_calibrations(job, "int8")
    found = read_calibrations("int8")
    assert sorted(reports) == sorted(f"int8-{a}-{kv}.json" for a in ("fp32", "int8")
                                     for kv in ("fp16", "fp32"))  # fmt: skip
    assert {entry.model for entry in found} == {load(work / "default-int8").sha256}
    assert {(entry.activations, entry.kv) for entry in found} == {
        (a, kv) for a in ("fp32", "int8") for kv in ("fp16", "fp32")
    }
    assert {report.records for report in reports.values()} == {32}
    before = {path.name: path.read_bytes() for path in (into / "calibration").iterdir()}
    assert len(keep_calibrations(dataclasses.replace(job, settings=["int8-fp32"]), "int8")) == 1
    assert [entry.kv for entry in read_calibrations("int8")] == ["fp32"]  # those of before are gone
    keep_calibrations(job, "int8")  # goes on from the margins that it kept
    assert {path.name: path.read_bytes() for path in (into / "calibration").iterdir()} == before
