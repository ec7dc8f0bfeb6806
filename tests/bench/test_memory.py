"""`stepguard bench memory` and `shapes`: parts that add up, and errors that say what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepguard.cli import main

PARTS = {"python", "tokenizer", "ort", "linears", "tables", "kv", "states", "rest"}


def test_memory_of_a_guard(tiny_guards: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "memory.json"
    guard = tiny_guards["int8"]
    words = ["bench", "memory", str(guard), "--context", "256", "--json", str(file)]
    assert main([*words, "--threads", "1"]) == 0
    report = json.loads(file.read_text())
    (one,) = report["models"]
    assert report["settings"]["context"] == 256
    assert one["file_bytes"] == (guard / "weights.bin").stat().st_size
    assert set(one["full"]) >= PARTS
    assert one["copied"] == 0
    assert one["full"]["linears"] > 0
    assert one["full"]["total"] == sum(one["full"][part] for part in PARTS)


@pytest.mark.parametrize("command", ["memory", "shapes", "export"])
def test_what_cannot_be_measured(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", command, "--shape", "gpt-9"]) == 1
    assert "qwen3.5-0.8b" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["bench", command])
    assert stop.value.code == 2
