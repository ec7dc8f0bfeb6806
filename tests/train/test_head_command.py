"""stepguard head fit, end to end on a small guard of random weights that is never trained."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from stepguard import Guard
from stepguard.cli import main
from stepguard.errors import ModelTamperedError, PromptError
from stepguard.export import export_model
from stepguard.manifest import load
from stepguard.train import read_records
from stepguard.train.attach import attach
from stepguard.train.examples import label_rows
from stepguard.train.rows import read_rows
from tests.export.tiny import make_checkpoint
from tests.train.test_command import trajectory

SOURCES = ("one", "two", "three")


def write_source(path: Path, name: str, seed: int, records: int = 24) -> Path:
    """Unsafe where the last action deletes; half of them say at which step."""
    rng, values = np.random.default_rng(seed), []
    for number in range(records):
        steps, unsafe = trajectory(rng), number % 2
        steps[3]["action"] = (" delete" if unsafe else " read") * 20
        first = 3 if unsafe and number % 4 == 1 else None
        value: dict[str, Any] = {"contents": steps, "label": unsafe, "first_unsafe_step": first}
        harm = ("a", "b")[number % 4 // 2] if unsafe else None
        meta = {"family": f"f{number // 3}"}
        values.append({**value, "id": f"{name}{number}", "harm_type": harm, "meta": meta})
    path.write_text("\n".join(map(json.dumps, values)))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("heads")
    folder = make_checkpoint(place / "checkpoint", "llama", 1, num_hidden_layers=1)
    export_model(folder, place / "model", quant="int8", template="short")
    return place / "model"


@pytest.fixture(scope="module")
def data(model: Path) -> list[str]:
    files = [write_source(model.parent / f"{n}.jsonl", n, i) for i, n in enumerate(SOURCES)]
    return list(map(str, files))


@pytest.fixture
def own(model: Path, tmp_path: Path) -> Path:
    """A model directory of one's own."""
    return Path(shutil.copytree(model, tmp_path / "model"))


def add_calibration(folder: Path, mode: str) -> None:
    """The one of the head, as if it were of another mode."""
    manifest = load(folder)
    (entry,) = manifest.calibration
    attach(folder, dataclasses.replace(entry, mode=mode))


def reported(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["head", "fit", *words, "--json"]) == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def test_from_data_to_verdicts(
    own: Path, data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(own), *data, "--rows", str(tmp_path / "rows.jsonl")]
    before = load(own)
    dry = reported([*words, "--dry-run"], capsys)
    assert load(own) == before
    kept = (tmp_path / "rows.jsonl").read_text()
    half = kept[: len(kept) * 19 // 20 - 5]  # cut off while a line was written
    assert not half.endswith("\n")
    (tmp_path / "rows.jsonl").write_text(half)
    report = reported(words, capsys)
    assert {**report, "written": False} == dry  # the same to the digit
    assert report["mean"]["across"]["value"] > 0.8  # by nothing but the planted word
    # Unsafe actions stand last here: the place alone says much, but nothing at the same step.
    assert report["mean"]["across"]["value"] > report["mean"]["position"]["value"]
    assert report["mean"]["matched"]["value"] > 0.8
    entry = load(own).heads["verdict"]
    assert entry.across == report["mean"]["across"]["value"]
    first = (own / entry.file).read_bytes()
    assert reported(words, capsys)["written"]  # again: from the kept rows, to the same file
    assert (own / load(own).heads["verdict"].file).read_bytes() == first
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert set(kept.splitlines()) < set(lines)  # what was cut off is read again, behind its rest
    assert len(lines) == len(set(lines)) == len(kept.splitlines()) + 1

    # What runs is scikit-learn's decision function, fitted here once more.
    records = read_records(list(map(Path, data)))
    with Guard.load(own, save_prefix=False) as guard:
        assert guard.mode == "first_token"
        rows = read_rows(guard, records)
    examples = label_rows(records, rows)
    scaler = StandardScaler().fit(examples.features, sample_weight=examples.balanced)
    fitted = LogisticRegression(C=entry.strength, tol=1e-6, max_iter=3000)
    features = scaler.transform(examples.features)
    fitted.fit(features, examples.labels, sample_weight=examples.balanced)
    with Guard.load(own, save_prefix=False, mode="head") as guard:
        assert guard.mode == "head"
        answers = guard.moderate_many([record.trajectory for record in records])
        with guard.session() as session:
            pushed = [session.follow(step) for step in records[0].trajectory.steps]
    expected = fitted.decision_function(scaler.transform(np.concatenate([r.rows for r in rows])))
    margins = np.array([verdict.margin for one in answers for verdict in one])
    assert np.abs(margins - expected).max() <= 1e-6 * np.abs(expected).max()
    assert {verdict.mode for one in answers for verdict in one} == {"head"}
    assert [v.margin for v in pushed if v is not None] == [v.margin for v in answers[0]]
    ends = [one[-1].status == "unsafe" for one in answers]
    right = [end == record.unsafe for end, record in zip(ends, records, strict=True)]
    assert sum(right) / len(right) > 0.85


def test_calibration_and_other_heads(
    own: Path, data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["--rows", str(tmp_path / "rows.jsonl")]
    reported([str(own), *data, *rows], capsys)
    calibrate = ["calibrate", str(own), *data, "--target-fnr", "0.4"]
    assert main([*calibrate, "--mode", "head"]) == 0
    add_calibration(own, "first_token")
    capsys.readouterr()
    trajectory_file = tmp_path / "t.jsonl"
    trajectory_file.write_text(Path(data[0]).read_text().split("\n")[0])

    def verdict() -> dict[str, Any]:
        main(["moderate", str(own), str(trajectory_file), "--mode", "head", "--json"])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        last: dict[str, Any] = found["trajectories"][0]["verdicts"][-1]
        return last

    before = verdict()
    assert before["calibrated"]
    # A head for a dimension: the margin is the same, and so its calibration holds.
    report = reported([str(own), *data, *rows, "--target", "real_world_harm"], capsys)
    assert report["labels"] == ["a", "b"]
    assert sorted(load(own).heads) == ["real_world_harm", "verdict"]
    after = verdict()
    assert (after["calibrated"], after["score"]) == (True, before["score"])
    assert after["guard"] != before["guard"]
    # Another head for the verdict: not what was calibrated; the old file is gone.
    old = load(own).heads["verdict"].file
    assert main(["head", "fit", str(own), *data, *rows, "--limit", "20"]) == 0
    assert "held out" in capsys.readouterr().out
    assert not (own / old).exists()
    assert not verdict()["calibrated"]
    assert [entry.mode for entry in load(own).calibration] == ["first_token"]
    with Guard.load(own, save_prefix=False) as guard:
        assert guard.calibrated  # a head changes nothing about the other modes
    assert main(["inspect", str(own)]) == 0
    assert "verdict: logistic, behind the question of first_token" in capsys.readouterr().out
    path = own / load(own).heads["real_world_harm"].file
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(ModelTamperedError, match="head-real_world_harm"):
        Guard.load(own, save_prefix=False)  # whatever the mode


def test_no_head(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PromptError, match="expected a guard with a head for verdicts"):
        Guard.load(model, mode="head")


def test_data_that_cannot_carry_it(
    own: Path, tmp_path: Path, data: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["head", "fit", str(own), data[0], "--target", "risk_source"]) == 1
    assert "labels of risk_source: expected at least two, got none" in capsys.readouterr().err
    value = json.loads(Path(data[0]).read_text().split("\n")[1])
    named = tmp_path / "named.jsonl"
    named.write_text(json.dumps({**value, "harm_type": None, "real_world_harm": "c"}))
    (record,) = read_records([named])  # as taxonomies call it
    assert (record.label_of("real_world_harm"), record.labels) == ("c", (("harm_type", "c"),))
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text(json.dumps({**value, "harm_type": 3}))
    assert main(["head", "fit", str(own), str(wrong)]) == 1
    assert "harm_type: expected the id of a label" in capsys.readouterr().err
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"a": 1}\n' * 3)
    assert main(["head", "fit", str(own), data[0], "--rows", str(rows)]) == 1
    assert "line 1: expected rows of an earlier run" in capsys.readouterr().err
