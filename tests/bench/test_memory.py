"""`stepguard bench memory` and `shapes`: parts that add up, and errors that say what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepguard.bench.memory import measure_memory
from stepguard.bench.samples import Sample, read_samples
from stepguard.cli import main
from stepguard.errors import StepguardError
from stepguard.manifest import load
from stepguard.prompt import Trajectory

SILENT = [{"role": "user", "content": "Send the report."}]
PARTS = {"python", "tokenizer", "ort", "linears", "tables", "kv", "states", "rest"}


def test_memory_of_a_guard(tiny_guards: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "memory.json"
    guard = tiny_guards["int8"]
    words = ["bench", "memory", str(guard), "--context", "256", "--json", str(file)]
    assert main([*words, "--threads", "1", "--plot", str(tmp_path / "m.png")]) == 0
    assert (tmp_path / "m.png").read_bytes()[:4] == b"\x89PNG"
    report = json.loads(file.read_text())
    (one,) = report["models"]
    assert report["settings"]["context"] == 256
    assert one["file_bytes"] == (guard / "weights.bin").stat().st_size
    assert set(one["full"]) >= PARTS
    assert one["copied"] == 0
    assert one["full"]["linears"] > 0
    assert one["full"]["total"] == sum(one["full"][part] for part in PARTS)
    (case,) = report["cases"]
    assert case["name"] == "int8, 256 tokens"
    none = {"ours_ms": None, "peers": {}, "best_peer": None, "ratio": None}
    assert {name: case[name] for name in none} == none  # no verdict is timed
    assert case["full_mb"] == one["full"]["total"] / 1e6
    assert case["weights_mb"] == one["file_bytes"] / 1e6
    assert case["own_mb"] < case["full_mb"]  # of a guard so small it may be lost in the rest


def test_more_than_there_is_to_read(
    tiny_guards: dict[str, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table would look as if so much had been read."""
    guard = tiny_guards["int8"]
    context = load(guard).architecture.context
    words = ["bench", "memory", str(guard), "--threads", "1", "--context"]
    assert main([*words, str(context + 1)]) == 1
    assert f"expected at most {context:,} tokens" in capsys.readouterr().err
    samples = read_samples([data], 1, 0)
    found = measure_memory(guard, samples, 500, name="guard", threads=1)
    assert 0 < found.context < 500
    assert found.to_case()["name"] == f"guard, {found.context} tokens"
    silent = [Sample("one", Trajectory.from_dict({"contents": [SILENT]}), {"contents": [SILENT]})]
    with pytest.raises(StepguardError, match="an action to judge"):
        measure_memory(guard, silent, 500, name="guard", threads=1)


def test_the_whole_context(
    tiny_guards: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last step has no room for all of itself: the table says how much was read."""
    guard, file = tiny_guards["int8"], tmp_path / "memory.json"
    words = ["bench", "memory", str(guard), "--threads", "1", "--json", str(file)]
    assert main([*words, "--context", "512"]) == 0
    (one,) = json.loads(file.read_text())["models"]
    assert 256 < one["context"] < 512
    said = capsys.readouterr()
    assert f"read {one['context']} tokens of 512" in said.err
    assert f" {one['context']} " in said.out


@pytest.mark.parametrize("command", ["memory", "shapes", "export"])
def test_what_cannot_be_measured(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", command, "--shape", "gpt-9"]) == 1
    assert "qwen3.5-0.8b" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["bench", command])
    assert stop.value.code == 2
