"""A run that begins with the adapter of another one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("peft")
torch = pytest.importorskip("torch")

from safetensors.numpy import load_file, save_file  # noqa: E402

from stepguard.cli import main  # noqa: E402
from stepguard.errors import TrainingError  # noqa: E402
from stepguard.train.lora.base import open_base  # noqa: E402
from stepguard.train.lora.choice import Part, measure_run  # noqa: E402
from stepguard.train.lora.learned import Learned, read_learned  # noqa: E402
from stepguard.train.lora.scoring import Scorer, settings_of  # noqa: E402
from stepguard.train.lora.start import read_start  # noqa: E402
from stepguard.train.lora.store import run_of, steps_of  # noqa: E402
from stepguard.train.records import read_records  # noqa: E402
from tests.export.tiny import make_checkpoint  # noqa: E402
from tests.train.lora.runs import pack, tiny, trainer, write_records  # noqa: E402

WEIGHTS = "adapter_model.safetensors"
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, two files of records, and a run on the first."""
    folder = tmp_path_factory.mktemp("start")
    tiny(folder / "base")
    write_records(folder / "first.jsonl", 4, actions=2)
    write_records(folder / "second.jsonl", 4, seed=1, actions=2)
    trainer(folder / "base", folder / "first.jsonl", folder / "run").sit()
    return folder


@pytest.fixture(scope="module")
def first(place: Path) -> Path:
    return steps_of(place / "run")[-1]


def test_it_goes_on_from_the_values(place: Path, first: Path, tmp_path: Path) -> None:
    start = read_start(first)
    data = place / "second.jsonl"
    begun = trainer(place / "base", data, tmp_path / "run", start=start, rate=1e-9)
    assert begun.sit().done == begun.total
    before = load_file(first / WEIGHTS)
    for folder in steps_of(tmp_path / "run"):  # what it begins with, too
        for name, value in load_file(folder / WEIGHTS).items():
            np.testing.assert_allclose(value, before[name], atol=1e-7)
    assert steps_of(tmp_path / "run")[0].name == "step-000000"
    assert any(np.abs(value).max() > 1e-4 for name, value in before.items() if "lora_B" in name)


def test_it_learned_from_what_made_its_start(place: Path, first: Path, tmp_path: Path) -> None:
    start = read_start(first)
    trainer(place / "base", place / "second.jsonl", tmp_path / "run", start=start).sit()
    both = [place / "first.jsonl", place / "second.jsonl"]
    expected = Learned.of(read_records(both))
    assert read_learned(tmp_path / "run" / "learned.json") == expected
    assert run_of(tmp_path / "run")["start"] == start.sha256


def test_a_cut_off_run_needs_the_same_start(place: Path, first: Path, tmp_path: Path) -> None:
    data, out = place / "second.jsonl", tmp_path / "run"
    whole = trainer(place / "base", data, tmp_path / "whole", start=read_start(first)).sit()
    # Once before its first step, once behind one.
    trainer(place / "base", data, out, start=read_start(first))._close()
    trainer(place / "base", data, out, start=read_start(first)).sit(minutes=0)
    with pytest.raises(TrainingError, match="start"):
        trainer(place / "base", data, out)
    done = trainer(place / "base", data, out, start=read_start(first)).sit()
    assert whole.checkpoint is not None
    assert done.checkpoint is not None
    assert (done.checkpoint / WEIGHTS).read_bytes() == (whole.checkpoint / WEIGHTS).read_bytes()


def test_a_kept_adapter_has_its_records_beside_it(
    place: Path, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    shutil.copyfile(first / "adapter_config.json", kept / "adapter_config.json")
    shutil.copyfile(place / "run" / "learned.json", kept / "learned.json")
    halves = {name: value.astype(np.float16) for name, value in load_file(first / WEIGHTS).items()}
    save_file(halves, kept / WEIGHTS)
    words = ["train", "lora", str(place / "base"), str(place / "second.jsonl"), "--json"]
    words += ["--out", str(tmp_path / "run"), "--from", str(kept), "--taxonomy", "base"]
    words += ["--train-layers", "2", "--rank", "4", "--epochs", "1", "--precision", "fp32"]
    assert main(words) == 0, capsys.readouterr().err
    assert json.loads(capsys.readouterr().out)["begun"] == 0
    learned = read_learned(tmp_path / "run" / "learned.json")
    assert learned.records > Learned.of(read_records([place / "second.jsonl"])).records
    # Step 0 of such a run is its start, in float32.
    for name, value in load_file(tmp_path / "run" / "step-000000" / WEIGHTS).items():
        np.testing.assert_array_equal(value, halves[name].astype(np.float32))


def test_what_a_run_cannot_begin_from(place: Path, first: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="an adapter"):
        read_start(tmp_path)
    alone = tmp_path / "elsewhere" / "alone"
    shutil.copytree(first, alone)
    with pytest.raises(TrainingError, match=r"learned\.json"):
        read_start(alone)
    for text in (
        "{}",
        '{"records": "abc", "families": [], "sources": []}',
        "[",
        '{"records": [1]}',
    ):
        (alone / "learned.json").write_text(text)
        with pytest.raises(TrainingError, match=r"learned\.json: expected learned\.json of a run"):
            read_start(alone)
    shutil.copyfile(place / "run" / "learned.json", alone / "learned.json")
    assert read_start(alone).learned == read_start(first).learned
    (alone / "adapter_config.json").write_text("[]")
    with pytest.raises(TrainingError, match="PEFT's file"):
        read_start(alone)
    values = load_file(first / WEIGHTS)
    save_file({**values, next(iter(values)): np.full((4, 64), np.nan, np.float32)}, alone / WEIGHTS)
    with pytest.raises(TrainingError, match="finite numbers"):
        read_start(alone)
    (alone / WEIGHTS).write_bytes((first / WEIGHTS).read_bytes()[:-7])
    with pytest.raises(TrainingError, match="an adapter, as PEFT saves it"):
        read_start(alone)


def test_a_run_whose_records_were_changed_is_no_start(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    (tmp_path / "run" / "learned.json").write_text('{"records":[],"families":[],"sources":[]}\n')
    with pytest.raises(TrainingError, match="another one"):
        read_start(steps_of(tmp_path / "run")[-1])


def test_an_adapter_of_another_kind_spoils_no_folder(
    place: Path, first: Path, tmp_path: Path
) -> None:
    """What is refused leaves nothing behind: the right command finds its folder empty."""
    data, out = place / "second.jsonl", tmp_path / "run"
    rslora = tmp_path / "rslora"
    shutil.copytree(first, rslora)
    shutil.copyfile(place / "run" / "learned.json", rslora / "learned.json")
    config = json.loads((first / "adapter_config.json").read_text())
    text = json.dumps({**config, "use_rslora": True})
    (rslora / "adapter_config.json").write_text(text)
    cases: list[tuple[Path, str, dict[str, Any]]] = [
        (first, "lora_alpha: expected 16, got 8", {"alpha": 16}),
        (first, "r: expected 8, got 4", {"rank": 8}),
        (first, "layers_to_transform", {"layers": 1}),
        (rslora, "use_rslora: expected False", {}),
    ]
    for folder, words, settings in cases:
        with pytest.raises(TrainingError, match=words):
            trainer(place / "base", data, out, start=read_start(folder), **settings)
        assert not out.exists()
    make_checkpoint(tmp_path / "other", "llama", 2, num_hidden_layers=3)
    with pytest.raises(TrainingError, match="expected an adapter of other"):
        trainer(tmp_path / "other", data, out, start=read_start(first))
    assert trainer(place / "base", data, out, start=read_start(first)).sit().finished


def test_a_choice_measures_what_it_began_with(place: Path, first: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    trainer(place / "base", place / "second.jsonl", out, start=read_start(first), rate=1e-9).sit()
    names = ("in", "out", "safe")
    files = [tmp_path / f"{name}-validation.jsonl" for name in names]
    for number, (name, file) in enumerate(zip(names, files, strict=True)):
        write_records(file, 8, seed=5 + number, actions=2, source=f"s{name}")
    lines = [json.loads(line) for line in files[2].read_text().splitlines()]
    safe = [json.dumps(line) for line in lines if not line["label"]]
    files[2].write_text("\n".join(safe))
    base = open_base(place / "base")
    parts = [Part(file.name, pack(base, read_records([file]))) for file in files]
    scorer = Scorer(open_base(place / "base"), settings_of(out))
    curve = list(measure_run(scorer, out, *parts))
    assert [one.step for one in curve] == [0, 2]
    scorer.take(first)
    own = [scorer.score(one).margins for one in parts[0].packed]
    scorer.take(out / "step-000000")
    assert [scorer.score(one).margins for one in parts[0].packed] == own
    assert curve[0].inside.value == pytest.approx(curve[-1].inside.value)
