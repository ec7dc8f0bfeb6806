"""`stepguard bench sizes`: one shape at a time, nothing left but what was measured, and resumed."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from stepguard.bench import run_sizes
from stepguard.bench.cli_sizes import add_sizes_parser
from stepguard.bench.shapes import GUARDS, GuardShape
from stepguard.cli import main
from stepguard.errors import StepguardError
from stepguard.runtime import isa_tables


@pytest.fixture(autouse=True)
def _small_ones(small: dict[str, GuardShape], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(GUARDS):
        monkeypatch.delitem(GUARDS, name)
    monkeypatch.setitem(GUARDS, "hybrid", small["qwen3.5-4b"])
    monkeypatch.setitem(GUARDS, "dense", small["smollm2-135m"])


def sizes(work: Path, *more: object) -> int:
    words = ["bench", "sizes", "--work", work, "--new", "4", "--context", "40", "--question", "3"]
    words += ["--prefill", "16", "--repeats", "1", "--threads", "1", *more]
    return main(list(map(str, words)))


def test_every_shape_then_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    assert sizes(work, "--shapes", "dense") == 0
    assert [path.name for path in work.iterdir()] == ["small smollm2-135m.sizes.json"]
    assert "hybrid" not in capsys.readouterr().out
    measured: list[str] = []
    real = run_sizes.measure_shape

    def watched(shape: GuardShape, *more: Any) -> Any:
        measured.append(shape.name)
        return real(shape, *more)

    monkeypatch.setattr(run_sizes, "measure_shape", watched)
    file, picture = tmp_path / "sizes.json", tmp_path / "sizes.svg"
    assert sizes(work, "--json", file, "--plot", picture) == 0
    assert measured == ["small qwen3.5-4b"]
    report = json.loads(file.read_text())
    assert {one["shape"] for one in report["shapes"]} == {"small qwen3.5-4b", "small smollm2-135m"}
    assert len(report["cases"]) == 2 * 2
    for case in report["cases"]:
        assert case["ours_ms"] > 0
    for one in report["shapes"]:
        assert one["weights"] > 10_000
        assert one["memory"]["stepguard"]["resident"] > 10_000_000
    assert "<svg" in picture.read_text()[:1000]
    out = capsys.readouterr()
    for part in ("small qwen3.5-4b", "small smollm2-135m", "step 4", "prefill 16", "resident, MB"):
        assert part in out.out
    assert "known from" in out.err

    # Other settings, or the user's word, measure again.
    def refused(shape: GuardShape, *more: Any) -> Any:
        raise StepguardError(f"{shape.name} is measured again")

    monkeypatch.setattr(run_sizes, "measure_shape", refused)
    assert sizes(work, "--shapes", "dense") == 0
    for more in (["--seed", 1], ["--force"]):
        assert sizes(work, "--shapes", "dense", *more) == 1
        assert "small smollm2-135m is measured again" in capsys.readouterr().err


def test_numbers_of_another_machine_are_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sizes(tmp_path, "--shapes", "dense") == 0

    def refused(shape: GuardShape, *more: Any) -> Any:
        raise StepguardError(f"{shape.name} is measured again")

    monkeypatch.setattr(run_sizes, "measure_shape", refused)
    assert sizes(tmp_path, "--shapes", "dense") == 0
    assert "known from" in capsys.readouterr().err
    others = ({"cpu_name": lambda: "another"}, {"__version__": "0.0.1"})
    for change in others:
        with monkeypatch.context() as patch:
            for name, value in change.items():
                patch.setattr(run_sizes, name, value)
            assert sizes(tmp_path, "--shapes", "dense") == 1
        assert "another machine or version: again" in capsys.readouterr().err
    monkeypatch.setenv("STEPGUARD_ISA", "generic")
    alone = len(isa_tables()) == 1  # where it is what runs anyway
    assert sizes(tmp_path, "--shapes", "dense") == (0 if alone else 1)
    monkeypatch.delenv("STEPGUARD_ISA")
    assert sizes(tmp_path, "--shapes", "dense", "--threads", "2") == 1


def test_files_go_when_a_shape_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(shape: GuardShape, arguments: Any, files: Path) -> Any:
        (files / "half a model").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(run_sizes, "measure_shape", fails)
    with pytest.raises(KeyboardInterrupt):
        run_sizes._measured(GUARDS["dense"], None, tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_shape_that_cannot_be_made_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent() -> Any:
        raise StepguardError("vocabulary", expected="the package words", got="nothing")

    monkeypatch.setitem(
        GUARDS, "hybrid", dataclasses.replace(GUARDS["hybrid"], name="lost", vocabulary=absent)
    )
    assert sizes(tmp_path, "--json", tmp_path / "j.json") == 1
    report = json.loads((tmp_path / "j.json").read_text())
    assert [one["shape"] for one in report["shapes"]] == ["small smollm2-135m"]
    assert list(report["problems"]) == ["lost"]
    assert "not measured: lost: vocabulary: expected the package words" in capsys.readouterr().out
    with pytest.raises(StepguardError, match="the package words"):
        run_sizes.run_sizes(parsed("--work", str(tmp_path / "w"), "--shapes", "hybrid"))


def parsed(*words: str) -> Any:
    parser = argparse.ArgumentParser()
    add_sizes_parser(parser.add_subparsers())
    return parser.parse_args(["sizes", *words])


def test_an_unknown_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sizes(tmp_path, "--shapes", "gpt-9") == 1
    assert "expected one of hybrid, dense" in capsys.readouterr().err
