"""stepguard calibrate, end to end on a small guard of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepguard import Guard, Status
from stepguard.cli import main
from stepguard.export import export_model
from stepguard.train import read_records
from stepguard.train.scores import score_records
from tests.export.tiny import make_checkpoint

WORDS = ("read", "write", "send", "the", "mail", "file", "of", "now", "please", "delete", "all")


def trajectory(rng: np.random.Generator) -> list[dict[str, str]]:
    def text() -> str:
        return " ".join(rng.choice(WORDS, 6))

    return [
        {"role": "user", "content": text()},
        {"role": "agent", "thought": text(), "action": text()},
        {"role": "environment", "content": text()},
        {"role": "agent", "thought": "", "action": text()},
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("calibrate")
    folder = make_checkpoint(place / "checkpoint", "llama", 1)
    export_model(folder, place / "model", quant="int8", template="short")
    return place / "model"


@pytest.fixture(scope="module")
def data(model: Path) -> Path:
    """Labelled by the guard itself, one in ten against it: unsafe where its margin is large."""
    rng, path = np.random.default_rng(0), model.parent / "data.jsonl"
    values: list[dict[str, Any]] = [
        {"id": f"r{i}", "contents": trajectory(rng), "label": 0, "meta": {"family": f"f{i // 2}"}}
        for i in range(120)
    ]
    path.write_text("\n".join(map(json.dumps, values)))
    with Guard.load(model, save_prefix=False) as guard:
        most = [max(one.margins) for one in score_records(guard, read_records([path]))]
    for value, margin, odd in zip(values, most, rng.random(120) < 0.1, strict=True):
        value["label"] = int((margin > np.median(most)) != odd)
    path.write_text("\n".join(map(json.dumps, values)))
    return path


def verdicts(model: Path, data: Path, **settings: Any) -> list[Any]:
    with Guard.load(model, save_prefix=False, **settings) as guard:
        records = read_records([data])
        answers = guard.moderate_many([record.trajectory for record in records])
    return [(r, one) for r, one in zip(records, answers, strict=True)]


def test_from_data_to_calibrated_verdicts(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "scores.jsonl"
    words = ["calibrate", str(model), str(data), "--target-fnr", "0.2", "--scores", str(kept)]
    before = (model / "manifest.json").read_bytes()
    assert main([*words, "--dry-run", "--json"]) == 0
    dry = json.loads(capsys.readouterr().out)
    assert (model / "manifest.json").read_bytes() == before
    assert len(kept.read_text().splitlines()) == 120
    kept.write_text(kept.read_text()[:-40])  # cut off while the last line was written
    assert main([*words, "--json", "--plot", str(tmp_path / "r.png")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {**report, "written": False} == dry  # the same to the digit
    assert (tmp_path / "r.png").stat().st_size > 5_000
    assert report["after"]["log_loss"] < report["before"]["log_loss"]
    found = verdicts(model, data)
    assert all(verdict.calibrated for _, one in found for verdict in one)
    missed = [all(verdict.status is Status.SAFE for verdict in one) for r, one in found if r.unsafe]
    assert sum(missed) / len(missed) == pytest.approx(report["not_safe"]["missed"])
    assert 0 < sum(missed) / len(missed) < 0.2
    # Other settings are not what was calibrated.
    assert not any(v.calibrated for _, one in verdicts(model, data, kv="fp32") for v in one)
    # Again with another target: one entry, in the place of the first.
    assert main([*words[:3], "--target-fpr", "0.3", "--rule", "conformal"]) == 0
    assert "written" in capsys.readouterr().out
    (entry,) = json.loads((model / "manifest.json").read_text())["calibration"]
    assert entry["promise"]["rate"] == "fpr"
    assert main(["inspect", str(model)]) == 0
    assert "fpr at most 0.3 (conformal)" in capsys.readouterr().out


def test_a_promise_that_cannot_be_made(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (model / "manifest.json").read_bytes()
    assert main(["calibrate", str(model), str(data), "--target-fnr", "0.001"]) == 1
    assert "The lowest one is 0.0" in capsys.readouterr().err
    assert (model / "manifest.json").read_bytes() == before


def test_a_file_that_holds_no_scores(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "scores.jsonl"
    wrong.write_text('{"a": 1}\n' * 3)
    words = ["calibrate", str(model), str(data), "--target-fnr", "0.2", "--scores", str(wrong)]
    assert main(words) == 1
    assert "line 1: expected scores of an earlier run" in capsys.readouterr().err
    assert wrong.read_text() == '{"a": 1}\n' * 3


@pytest.mark.parametrize("left", [3, 60, 250])
def test_runs_that_are_cut_off_again_and_again(
    model: Path, data: Path, tmp_path: Path, left: int
) -> None:
    """Every run keeps what it scored, whatever the one before it left of its last line."""
    kept, records = tmp_path / "scores.jsonl", read_records([data], 4)
    with Guard.load(model, save_prefix=False) as guard:
        first = score_records(guard, records[:2], kept)
        one = kept.read_text().index("\n") + 1
        kept.write_text(kept.read_text()[: one + left])
        again = score_records(guard, records, kept)
        assert again[:2] == first
        before = guard.stats()["tokens"]
        assert score_records(guard, records, kept) == again
        assert guard.stats()["tokens"] == before  # nothing was scored anew


def test_what_could_not_be_read_is_counted(model: Path, tmp_path: Path) -> None:
    steps = [{"role": "agent", "thought": "", "action": "w " * 40_000}]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"contents": steps, "label": 1}))
    with Guard.load(model, save_prefix=False) as guard:
        (one,) = score_records(guard, read_records([path]))
    assert one.margins == ()
    assert one.lost.startswith("overflow")
