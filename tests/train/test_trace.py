"""Which records do harm to an adapter, by the gradients of its matrices."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("peft")
torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402

from stepguard.cli import main  # noqa: E402
from stepguard.errors import TrainingError  # noqa: E402
from stepguard.prompt import Step, Trajectory  # noqa: E402
from stepguard.train.influence.trace import (  # noqa: E402
    measure_planted,
    trace_records,
    turn_labels,
)
from stepguard.train.lora.base import open_base  # noqa: E402
from stepguard.train.lora.scoring import Scorer, settings_of  # noqa: E402
from stepguard.train.lora.store import steps_of  # noqa: E402
from stepguard.train.records import Record, read_records  # noqa: E402
from tests.export.tiny import make_checkpoint  # noqa: E402
from tests.train.lora.runs import pack, tiny, trainer, write_records  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in float32, one in bf16, and targets of other families."""
    folder = tmp_path_factory.mktemp("trace")
    tiny(folder / "base")
    write_records(folder / "data.jsonl", 12, actions=2)
    write_records(folder / "one.jsonl", 6, seed=2, actions=2)
    lines = [json.loads(line) for line in (folder / "one.jsonl").read_text().splitlines()]
    for line in lines:
        line["meta"]["family"] = f"target {line['meta']['family']}"
    (folder / "targets.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for precision in ("fp32", "bf16"):
        run = trainer(
            folder / "base",
            folder / "data.jsonl",
            folder / precision,
            rate=3e-3,
            epochs=10,
            labels=0.0,
            precision=precision,
        )
        run.sit(every=50)
    return folder


def newest(place: Path, precision: str) -> Path:
    return steps_of(place / precision)[-1]


def records_of(place: Path, name: str) -> list[Record]:
    return read_records([place / f"{name}.jsonl"])


def objective(scorer: Scorer, packed: list[Any], shares: np.ndarray | None) -> tuple[float, Any]:
    """The weighted mean of share * (loss of the wrong verdict - loss of the right one), whose
    derivative the score is; shares: held fast, those of this model if None."""
    margins = np.concatenate([scorer.score(one).margins for one in packed])
    asked = [question for one in packed for question in one.questions]
    signs = np.array([1.0 if question.unsafe else -1.0 for question in asked])
    weights = np.array([question.weight for question in asked])
    right = signs * margins
    if shares is None:
        shares = 1 / (1 + np.exp(-right))
    return float((weights * shares * right).sum() / weights.sum()), shares


def test_the_score_is_what_a_step_along_a_record_does(place: Path, tmp_path: Path) -> None:
    """Against differences of what the checkpoint and its neighbours answer."""
    checkpoint, settings = newest(place, "fp32"), settings_of(place / "fp32")
    records, targets = records_of(place, "data"), records_of(place, "targets")
    base = open_base(place / "base")
    found = trace_records(base, checkpoint, records, targets)
    scorer = Scorer(open_base(place / "base"), settings)
    scorer.take(checkpoint)
    goal = pack(base, targets)
    _, shares = objective(scorer, goal, None)
    parameters = scorer._adapter.parameters
    kept = {name: value.detach().clone() for name, value in parameters.items()}
    # The gradients of the training loop itself, which have an oracle of their own.
    begun = trainer(place / "base", place / "data.jsonl", tmp_path, labels=0.0)
    begun._adapter.load(checkpoint)
    for packed in begun._packed:
        loss, gradients = begun._gradients(packed, 1.0)
        size = 1e-2 / float(sum(float((one**2).sum()) for one in gradients)) ** 0.5
        moved = []
        for way in (1.0, -1.0):
            with torch.no_grad():
                for (name, value), one in zip(parameters.items(), gradients, strict=True):
                    value.copy_(kept[name] - way * size * one)
            moved.append(objective(scorer, goal, shares)[0])
        harms = next(one["harms"] for one in found if one["sha256"] == packed.record.sha256)
        slope = (moved[0] - moved[1]) / (2 * size)
        assert harms["preference"] == pytest.approx(-slope, rel=0.02, abs=1e-4)
        assert harms["loss"] == pytest.approx(loss, rel=1e-5)
    begun._close()
    order = [one["harms"]["preference"] for one in found]
    assert order == sorted(order, reverse=True)
    assert order[0] > order[-1]


def test_turned_labels_are_found(place: Path) -> None:
    """An adapter that learned the right labels takes the turned ones for the worst."""
    records, targets = records_of(place, "data"), records_of(place, "targets")
    changed, turned = turn_labels(records, 0.25, 0)
    assert len(turned) == 3
    both = list(zip(records, changed, strict=True))
    assert {one.sha256 for one, two in both if one.unsafe != two.unsafe} == turned
    assert all(two.first_unsafe is None for one, two in both if one.sha256 in turned)
    assert turn_labels(records, 0.25, 1)[1] != turned
    found = trace_records(open_base(place / "base"), newest(place, "fp32"), changed, targets)
    measured = measure_planted(found, turned)
    assert measured["loss"]["auroc"] > 0.9
    wrong = [one["sha256"] in turned for one in found]
    for name, values in measured.items():
        harms = [one["harms"][name] for one in found]
        assert values["auroc"] == pytest.approx(roc_auc_score(wrong, harms))
    assert measured["preference"]["precision"] == pytest.approx(sum(wrong[:3]) / 3)


def test_records_side_by_side_give_the_same_bits(place: Path) -> None:
    records, targets = records_of(place, "data"), records_of(place, "targets")
    one, two = (
        trace_records(open_base(place / "base"), newest(place, "bf16"), records, targets, beside)
        for beside in (1, 2)
    )
    assert one == two


def test_the_command(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "trace", str(place / "base"), str(newest(place, "fp32"))]
    words += [str(place / "data.jsonl"), "--target", str(place / "targets.jsonl")]
    scores, out = tmp_path / "scores.jsonl", tmp_path / "ranked.jsonl"
    words += ["--plant", "0.25", "--scores", str(scores), "--out", str(out)]
    assert main([*words, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["records"], value["targets"], value["turned"]) == (12, 6, 3)
    assert value["ranked"] == [json.loads(line) for line in out.read_text().splitlines()]
    assert sum(one["turned"] for one in value["ranked"]) == 3
    assert set(value["planted"]) == {"preference", "loss"}
    lines = scores.read_text()
    assert main([*words, "--top", "2"]) == 0  # all of it is kept
    assert scores.read_text() == lines
    printed = capsys.readouterr().out
    assert "(turned)" in printed
    assert "of the 3 worst are turned (chance 0.25), AUROC" in printed
    assert main([*words[:-6], "--json"]) == 0  # nothing is turned
    value = json.loads(capsys.readouterr().out)
    assert (value["turned"], value["planted"]) == (0, None)


def test_what_was_found_under_other_settings_is_not_taken(place: Path, tmp_path: Path) -> None:
    """The same weights in another run: a run begun from a checkpoint has them as its step 0."""
    records, targets = records_of(place, "data"), records_of(place, "targets")
    run = tmp_path / "run"
    shutil.copytree(place / "fp32", run)
    found = json.loads((run / "run.json").read_text())
    found["settings"] |= {"prefixes": 1}
    (run / "run.json").write_text(json.dumps(found))
    kept = tmp_path / "kept.jsonl"
    base = open_base(place / "base")
    first = trace_records(base, newest(place, "fp32"), records, targets, kept=kept)
    base = open_base(place / "base")
    second = trace_records(base, steps_of(run)[-1], records, targets, kept=kept)
    assert [one["harms"] for one in first] != [one["harms"] for one in second]
    # Another order of the same records is nothing new.
    lines = kept.read_text()
    base = open_base(place / "base")
    again = trace_records(base, newest(place, "fp32"), records[::-1], targets, kept=kept)
    assert (again, kept.read_text()) == (first, lines)


def test_what_cannot_be_traced(place: Path, tmp_path: Path) -> None:
    records, targets = records_of(place, "data"), records_of(place, "targets")
    base, checkpoint = open_base(place / "base"), newest(place, "fp32")
    with pytest.raises(TrainingError, match="a run, with"):
        trace_records(base, tmp_path / "step-000001", records, targets)
    with pytest.raises(TrainingError, match="targets: expected labelled actions"):
        trace_records(base, checkpoint, records, [])
    with pytest.raises(TrainingError, match="records: expected labelled actions"):
        trace_records(base, checkpoint, [], targets)
    for share in (0.0, 1.0, -1.0, float("nan"), 0.01, 0.99):
        with pytest.raises(TrainingError, match="plant"):
            turn_labels(records, share, 0)
    with pytest.raises(TrainingError, match="turned records among others"):
        measure_planted([], frozenset())
    make_checkpoint(tmp_path / "other", "llama", 2, num_hidden_layers=3)
    with pytest.raises(TrainingError, match="a run with base_sha256"):
        trace_records(open_base(tmp_path / "other"), checkpoint, records, targets)
    run = tmp_path / "run"
    shutil.copytree(place / "fp32", run)
    text = (run / "run.json").read_text()
    (run / "run.json").write_text(json.dumps({**json.loads(text), "prompt": "another"}))
    with pytest.raises(TrainingError, match="a run with prompt"):
        trace_records(open_base(place / "base"), steps_of(run)[-1], records, targets)
    (run / "run.json").write_text(text)
    path = steps_of(run)[-1] / "adapter_model.safetensors"
    values = load_file(path)
    save_file({name: value * torch.nan for name, value in values.items()}, path)
    kept = tmp_path / "kept.jsonl"
    with pytest.raises(TrainingError, match="finite gradients"):
        trace_records(open_base(place / "base"), path.parent, records, targets, kept=kept)
    assert not kept.exists()
    path.write_bytes(b"x")
    with pytest.raises(TrainingError, match="an adapter, as PEFT saves it"):
        trace_records(open_base(place / "base"), path.parent, records, targets)


def test_only_records_that_act_are_turned(place: Path) -> None:
    records = records_of(place, "data")
    talk = Trajectory("", (Step.user("hello"),))
    silent = [dataclasses.replace(one, trajectory=talk) for one in records[:8]]
    for seed in range(5):
        turned = turn_labels([*silent, *records[8:]], 0.5, seed)[1]
        assert len(turned) == 2
        assert turned <= {one.sha256 for one in records[8:]}


@pytest.mark.parametrize(
    "words",
    [
        ["--threads", "0"],
        ["--seed", "-1"],
        ["--limit", "0"],
        ["--top", "-1"],
        ["--out", "/no/such/folder/x"],
        ["--out", "same.jsonl", "--scores", "same.jsonl"],
    ],
)
def test_wrong_usage_is_told_before_the_work(
    place: Path, tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", "trace", str(place / "base"), str(newest(place, "fp32"))]
    command += [str(place / "data.jsonl"), "--target", str(place / "targets.jsonl")]
    with pytest.raises(SystemExit) as ended:
        main([*command, *words])
    assert ended.value.code == 2


def test_targets_that_are_ranked_are_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "trace", str(place / "base"), str(newest(place, "fp32"))]
    assert main([*words, str(place / "data.jsonl"), "--target", str(place / "data.jsonl")]) == 1
    assert "records that are not ranked" in capsys.readouterr().err
