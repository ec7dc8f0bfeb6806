"""stepguard bench quality, end to end on a small guard of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepguard import Guard
from stepguard.bench.quality.metrics import NAMES
from stepguard.cli import main
from stepguard.train import read_records
from stepguard.train.scores import score_records

WORDS = ("read", "write", "send", "the", "mail", "file", "of", "now", "please", "delete", "all")


def values() -> list[dict[str, Any]]:
    """32 records of two sources, two of a family, without a label yet."""
    rng, found = np.random.default_rng(0), []
    for i in range(32):
        text = [" ".join(rng.choice(WORDS, 5)) for _ in range(4)]
        steps = [
            {"role": "user", "content": text[0]},
            {"role": "agent", "thought": text[1], "action": "a()"},
            {"role": "environment", "content": text[2]},
            {"role": "agent", "thought": "", "action": text[3]},
        ]
        source = "ab"[i % 2]
        found.append({"id": f"r{i}", "source": source, "contents": steps, "label": 0})
        found[-1]["meta"] = {"family": f"f{i // 4}"}
    return found


@pytest.fixture(scope="module")
def labelled(tiny_guards: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled by the guard itself: unsafe from the first action on whose margin is large."""
    path, found = tmp_path_factory.mktemp("quality") / "data.jsonl", values()
    path.write_text("\n".join(map(json.dumps, found)))
    with Guard.load(tiny_guards["int8"], save_prefix=False, threads=1) as guard:
        scored = score_records(guard, read_records([path]))
    border = float(np.median([max(one.margins) for one in scored]))
    for value, one in zip(found, scored, strict=True):
        above = [s for s, m in zip(one.steps, one.margins, strict=True) if m > border]
        value["label"] = int(bool(above))
        value["first_unsafe_step"] = above[0] if above else None
        value["harm_type"] = "privacy" if above and value["source"] == "b" else None
    path.write_text("\n".join(map(json.dumps, found)))
    return path


def row(report: dict[str, Any], judge: str, name: str, level: str) -> dict[str, Any]:
    found = [
        group
        for group in report["groups"]
        if (group["judge"], group["name"], group["level"]) == (judge, name, level)
    ]
    assert len(found) == 1
    only: dict[str, Any] = found[0]
    return only


def test_from_data_to_a_report(
    tiny_guards: dict[str, Path],
    labelled: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept, out, picture = (tmp_path / name for name in ("scores.jsonl", "q.json", "q.svg"))
    words = ["bench", "quality", str(tiny_guards["int8"]), str(labelled), "--threads", "1"]
    words += ["--beside", str(tiny_guards["float32"]), "--draws", "40", "--scores", str(kept)]
    words += ["--json", str(out), "--plot", str(picture)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    for text in ("AUROC", "above best cue", "mean of sources", "privacy", "TF-IDF across"):
        assert text in shown
    report, drawn = json.loads(out.read_text()), picture.read_bytes()

    assert report["benchmark"] == "quality"
    assert report["settings"]["files"] == ["data.jsonl"]
    assert report["sources"]["a"]["records"] == 16
    assert len(report["records"]) == 32
    names = [judge["name"] for judge in report["judges"]]
    assert names == ["int8", "float32", "majority", "position only", "TF-IDF", "TF-IDF across"]
    assert report["judges"][0]["mode"] == "first_token"
    assert report["missing"] == {}
    for group in report["groups"]:
        assert list(group["metrics"]) == list(NAMES)
        assert (group["above"] is None) == (group["judge"] not in ("int8", "float32"))
    own = row(report, "int8", "all", "trajectory")
    assert own["metrics"]["auroc"]["value"] == 1.0  # the labels are the guard's own
    assert own["above"]["difference"]["value"] > 0.1
    other = row(report, "float32", "all", "trajectory")
    assert 0.8 < other["metrics"]["auroc"]["value"] <= 1.0
    assert row(report, "int8", "privacy", "trajectory")["count"] <= 16
    alarms = {(one["judge"], one["at"]): one for one in report["alarms"]}
    assert alarms["int8", "fpr5"]["caught"] == 1.0
    assert alarms["int8", "fpr5"]["delay"]["late"] == 0
    assert alarms["int8", "fpr5"]["per_100"]["all"]["value"] == 0.0

    # Cut off while a line was written, and again: the rest is read, all is the same to the digit.
    assert len(kept.read_text().splitlines()) == 64
    kept.write_text(kept.read_text()[:-40])
    assert main(words) == 0
    again = json.loads(out.read_text())
    machine = again.pop("machine")
    assert machine["threads"] == report.pop("machine")["threads"] == 1
    assert again == report
    assert picture.read_bytes() == drawn


def test_a_choice_of_records_and_a_mode(
    tiny_guards: dict[str, Path], labelled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "q.json"
    words = ["bench", "quality", str(tiny_guards["int8"]), str(labelled), "--threads", "1"]
    words += ["--draws", "10", "--json", str(out), "--limit", "3", "--pool", "last"]
    assert main([*words, "--mode", "first_token"]) == 0
    report = json.loads(out.read_text())
    assert report["judges"][0]["name"] == "int8 (first_token)"
    assert {name: one["records"] for name, one in report["sources"].items()} == {"a": 3, "b": 3}
    assert main([*words[:-4], "--split", "1/2"]) == 0
    report = json.loads(out.read_text())
    assert 0 < len(report["records"]) < 32
    assert report["settings"]["split"] == "1/2"
    others = {one.sha256 for one in read_records([labelled])} - set(report["records"])
    learned = tmp_path / "learned.json"
    learned.write_text(json.dumps({"records": sorted(others), "families": [], "sources": []}))
    assert main([*words[:-4], "--split", "1/2", "--learned", str(learned)]) == 0
    report = json.loads(out.read_text())
    assert report["judges"][-1]["name"] == "TF-IDF same"
    assert report["missing"] == {}


def test_one_class_and_one_family_leave_blanks(
    tiny_guards: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = values()[:4]
    for value in found:
        value["source"] = "a"
    data, out = tmp_path / "safe.jsonl", tmp_path / "q.json"
    data.write_text("\n".join(map(json.dumps, found)))
    words = ["bench", "quality", str(tiny_guards["int8"]), str(data), "--threads", "1"]
    assert (
        main([*words, "--draws", "10", "--json", str(out), "--plot", str(tmp_path / "q.png")]) == 0
    )
    shown = capsys.readouterr().out
    assert "TF-IDF: missing: families: expected at least 2" in shown
    report = json.loads(out.read_text())
    assert all(group["metrics"]["auroc"]["value"] is None for group in report["groups"])
    assert {one["at"] for one in report["alarms"]} == {"own"}
    assert "NaN" not in out.read_text()


def test_what_cannot_be_measured_is_said(
    tiny_guards: dict[str, Path],
    labelled: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["bench", "quality", str(tiny_guards["int8"]), str(labelled)]

    def fails(*more: str) -> str:
        assert main([*words, *more]) == 1
        return capsys.readouterr().err

    assert "PromptError" in fails("--mode", "rationale")
    assert "none in part 1/4000" in fails("--split", "1/4000")
    wrong = tmp_path / "scores.jsonl"
    wrong.write_text('{"a": 1}\n' * 3)
    assert "line 1: expected scores of an earlier run" in fails("--scores", str(wrong))
    assert "manifest.json" in fails("--beside", str(tmp_path))
    assert "learned.json of a run" in fails("--learned", str(wrong))
    long = tmp_path / "long.jsonl"
    steps = [{"role": "agent", "thought": "", "action": "w " * 40_000}]
    long.write_text(json.dumps({"contents": steps, "label": 1}))
    assert main([*words[:3], str(long)]) == 1
    assert "expected records that the guard can read" in capsys.readouterr().err
    for bad in (["--split", "3/2"], ["--split", "x"], ["--plot", "q.pdf"], ["--limit", "0"]):
        with pytest.raises(SystemExit):
            main([*words, *bad])
    assert ".png or .svg" in capsys.readouterr().err
