"""stepguard train lora, choose and purify, end to end on a small random model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft")
torch = pytest.importorskip("torch")

from sklearn.metrics import roc_auc_score  # noqa: E402

from stepguard import Guard  # noqa: E402
from stepguard.cli import main  # noqa: E402
from stepguard.export import export_model  # noqa: E402
from stepguard.train import read_records  # noqa: E402
from stepguard.train.points import label_points  # noqa: E402
from stepguard.train.scores import score_records  # noqa: E402
from tests.train.lora.runs import tiny, write_records  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    tiny(folder / "base", 2)
    for number, name in enumerate(("data", "in-validation", "out-validation", "out-test")):
        write_records(folder / f"{name}.jsonl", 8, seed=number, actions=2)
    lines = (folder / "out-validation.jsonl").read_text().splitlines()
    safe = [line for line in lines if not json.loads(line)["label"]]
    (folder / "safe-validation.jsonl").write_text("\n".join(safe))
    return folder


def words(place: Path, *more: str) -> list[str]:
    base = [str(place / "base"), str(place / "data.jsonl"), "--out", str(place / "run")]
    return [
        "train",
        "lora",
        *base,
        "--taxonomy",
        "base",
        "--rank",
        "4",
        "--every",
        "1",
        "--precision",
        "fp32",
        *more,
    ]


def told(command: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main([*command, "--json"]) == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def test_from_records_to_a_chosen_checkpoint(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guess = told(words(place, "--estimate"), capsys)
    assert guess["seconds"] == pytest.approx(guess["first"] + guess["later"])
    assert guess["first"] > guess["later"] > 0
    assert not (place / "run").exists()
    facts = told(words(place), capsys)
    assert (facts["tokens"], 4 * 72 * facts["tokens"]) == (guess["tokens"], guess["kept"])
    assert (facts["records"], facts["prefixes"], facts["cut"], facts["unread"]) == (8, 14, 0, 0)
    assert (facts["steps"], facts["total"]) == (2, 2)
    assert facts["settings"]["layers"] == 1
    assert main(words(place)) == 0  # nothing is left to do
    printed = capsys.readouterr().out
    assert "2 of 2, 0 of them in this sitting" in printed
    assert "--adapter" in printed
    assert main(words(place, "--rank", "8")) == 1
    assert "TrainingError" in capsys.readouterr().err

    files = {
        name: str(place / f"{file}-validation.jsonl")
        for name, file in (("inside", "in"), ("outside", "out"), ("safe", "safe"))
    }
    options = [word for name, file in files.items() for word in (f"--{name}", file)]
    choose = ["train", "choose", str(place / "base"), str(place / "run"), "--taxonomy", "base"]
    found = told([*choose, *options], capsys)
    assert [one["step"] for one in found["checkpoints"]] == [0, 1, 2]
    assert found["step"] in (0, 1, 2)
    # Step 0 is the base: a guard's margins, and scikit-learn's measure.
    export_model(place / "base", place / "plain", quant="float32", template="short")
    records = read_records([Path(files["inside"])])
    with Guard.load(place / "plain", save_prefix=False) as guard:
        points = label_points(records, score_records(guard, records))
    expected = roc_auc_score(points.unsafe, points.margins, sample_weight=points.weights)
    assert found["checkpoints"][0]["inside"]["value"] == pytest.approx(expected, abs=1e-9)
    assert main([*choose, *options]) == 0
    assert f"If it ended here: step {found['step']}." in capsys.readouterr().out
    options[options.index(files["outside"])] = str(place / "out-test.jsonl")
    assert main([*choose, *options]) == 1
    assert "split out-test.jsonl: expected a split named validation" in capsys.readouterr().err


def test_few_prefixes_and_short_records(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(name: str, *more: str) -> list[str]:
        command = words(place, "--epochs", "1", *more)
        command[command.index("--out") + 1] = str(tmp_path / name)
        return command

    every = told(run("every"), capsys)
    few = told(run("few", "--prefixes", "1"), capsys)
    assert (every["prefixes"], few["prefixes"], few["records"]) == (14, 8, 8)
    assert few["tokens"] < every["tokens"]
    assert few["settings"]["prefixes"] == 1
    short = told(run("short", "--most-tokens", str(every["tokens"] // 8)), capsys)
    assert 0 < short["records"] < 8
    assert short["tokens"] <= short["records"] * (every["tokens"] // 8)
    assert main(run("none", "--most-tokens", "1")) == 1
    assert "expected labelled actions, got none" in capsys.readouterr().err
    assert main(run("zero", "--prefixes", "0")) == 1
    assert "prefixes: expected a whole number from 1 up, got 0" in capsys.readouterr().err


def test_a_checkpoint_is_not_chosen_on_what_was_learned(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    told(words(place, "--out", str(run)), capsys)
    learned = json.loads((run / "learned.json").read_text())
    records = read_records([place / "data.jsonl"])
    assert learned["records"] == sorted(record.sha256 for record in records)
    assert learned["families"] == [f"data/f{number}" for number in range(4)]
    assert learned["sources"] == ["data"]
    lines = (place / "data.jsonl").read_text().splitlines()
    again = [json.dumps(json.loads(line) | {"source": "again"}) for line in lines]
    (tmp_path / "data").mkdir()
    same = tmp_path / "data" / "same-validation.jsonl"
    same.write_text(lines[0] + "\n" + "\n".join(again[1:]))
    family = write_records(tmp_path / "family-dev.jsonl", 8, seed=5, actions=2, source="data")
    source = write_records(
        tmp_path / "source-dev.jsonl", 8, seed=5, actions=2, source="data", meta={"family": "new"}
    )

    def refused(**other: Path) -> str:
        files = {
            "inside": place / "in-validation.jsonl",
            "outside": place / "out-validation.jsonl",
            "safe": place / "safe-validation.jsonl",
        } | other
        options = [word for name, file in files.items() for word in (f"--{name}", str(file))]
        # Nothing is loaded before: the base is not even there.
        assert main(["train", "choose", str(place / "none"), str(run), *options]) == 1
        return capsys.readouterr().err

    for name in ("inside", "outside", "safe"):
        text = refused(**{name: same})
        assert "records that the run did not learn from, got 1 that it did" in text
        text = refused(**{name: family})
        assert "families that the run did not learn from, got 4 that it did, like data/f0" in text
    text = refused(outside=source)
    assert "sources that the run did not learn from, got 1 that it did, like data" in text
    assert "learn from" not in refused(inside=source, safe=source)
    (run / "learned.json").write_text('{"records":[],"families":[],"sources":[]}')
    assert "expected the file that run.json names, got another one" in refused()
    (run / "learned.json").unlink()
    assert "learned.json: expected a file of the run" in refused()
    told(words(place, "--out", str(run)), capsys)  # a sitting writes it again
    assert json.loads((run / "learned.json").read_text()) == learned


def test_targets_that_are_ranked_are_refused_before_a_guard_is_loaded(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "purify", str(place / "none"), str(place / "data.jsonl"), "--target"]
    assert main([*command, str(place / "data.jsonl")]) == 1
    assert "targets: expected records that are not ranked, got 8" in capsys.readouterr().err
    other = write_records(tmp_path / "other.jsonl", 8, seed=5, actions=2, source="data")
    assert main([*command, str(other)]) == 1
    assert "targets: expected families that are not ranked, got 4" in capsys.readouterr().err


@pytest.mark.slow
def test_purify_and_what_is_left_out(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, ranked = place / "model", place / "ranked.jsonl"
    export_model(place / "base", model, quant="int8", template="short")
    command = ["train", "purify", str(model), str(place / "data.jsonl"), "--out", str(ranked)]
    command += ["--rows", str(place / "rows.jsonl")]
    found = told(command, capsys)
    lines = [json.loads(line) for line in ranked.read_text().splitlines()]
    assert lines == found["ranked"]
    assert [line["rank"] for line in lines] == list(range(1, 9))
    assert main([*command, "--top", "3", "--by", "datainf"]) == 0
    printed = capsys.readouterr().out
    assert "3 of 8 records" in printed
    assert "ordered by datainf" in printed
    other = told([*command, "--target", str(place / "in-validation.jsonl")], capsys)
    assert other["targets"] == 8
    assert main([*command, "--target", str(place / "data.jsonl")]) == 1
    assert "targets: expected records that are not ranked, got 8" in capsys.readouterr().err
    without = place / "without.jsonl"
    without.write_text("".join(json.dumps(line) + "\n" for line in lines[:2]))
    more = ["--without", str(without), "--out", str(place / "fewer")]
    assert told(words(place, *more), capsys)["records"] == 6
    kept = told(words(place, "--split", "train", "--may-ship", "--estimate"), capsys)
    assert kept["tokens"] < told(words(place, "--estimate"), capsys)["tokens"]
    without.write_text("{}\n")
    assert main(words(place, *more)) == 1
    assert 'line 1: expected an object with the key "sha256"' in capsys.readouterr().err
