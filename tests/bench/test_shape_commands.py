"""`stepguard bench memory`, `shapes` and `export` of shapes: what they print, and leave behind."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

import pytest

from stepguard.bench import run_shapes
from stepguard.bench.child import Ran, run_command
from stepguard.bench.shapes import GUARDS, GuardShape
from stepguard.cli import main

_KV = 2 * 1 * 256 * 2  # bytes of a token: keys and values of one head of 256 in fp16
_SLOT = 3 * 4 * (2 * 128 * 128 + 3 * 4 * 128)  # three recurrent layers: matrices, and 3 rows


@pytest.fixture(autouse=True)
def _small_ones(small: dict[str, GuardShape], monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes of a few kilobytes among the known ones."""
    monkeypatch.setitem(GUARDS, "hybrid", small["qwen3.5-4b"])
    monkeypatch.setitem(GUARDS, "dense", small["smollm2-135m"])


def run(*words: object) -> int:
    return main(["bench", *map(str, words)])


def test_memory_of_a_hybrid(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, work = tmp_path / "memory.json", tmp_path / "work"
    work.mkdir()
    words = ("--shape", "hybrid", "--context", 400, "--threads", 1, "--data", data)
    assert run("memory", *words, "--work", work, "--json", file) == 0
    assert list(work.iterdir()) == []
    (one,) = json.loads(file.read_text())["models"]
    assert one["quant"] == "float32+int4"
    assert one["kilotoken_bytes"] == pytest.approx(1000 * _KV, rel=0.1)
    assert _SLOT <= one["state_bytes"] <= _SLOT + 32 * _KV + 2 * 4096
    assert one["full"]["states"] >= _SLOT
    assert one["full"]["states"] % _SLOT == 0
    assert one["full"]["kv"] >= 400 * _KV
    assert "resident MB at 400 tokens" in capsys.readouterr().out


def test_shapes_end_to_end(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--shape", "hybrid", "dense", "--threads", 1, "--data", data, "--tokens", 200)
    assert run("shapes", *words, "--work", tmp_path, "--json") == 0
    assert list(tmp_path.glob("small*")) == []
    rows = json.loads(capsys.readouterr().out)["shapes"]
    assert {row["shape"] for row in rows} == {"small qwen3.5-4b", "small smollm2-135m"}
    for row in rows:
        assert (row["trajectories"], row["verdicts"], row["unavailable"]) == (2, 4, 0)
        assert row["tokens"] > 200
        assert row["tokens_per_second"] == pytest.approx(row["tokens"] / row["seconds"])
        assert 0.1 < row["cpu_seconds"] < 60
        assert 30_000_000 < row["peak"] < 2_000_000_000


def test_the_load_is_that_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = [0.25]

    def measured(*words: str | Path, allowed: Collection[int]) -> Ran:
        load[0] = 9.0
        return run_command(*words, allowed=allowed)

    monkeypatch.setattr(os, "getloadavg", lambda: (load[0], 9.0, 9.0))
    monkeypatch.setattr(run_shapes, "run_command", measured)
    assert run("shapes", "--shape", "dense", "--limit", 1, "--work", tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["machine"]["load"] == 0.25


def test_shapes_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("shapes", "--shape", "dense", "--limit", 1, "--work", tmp_path) == 0
    text = capsys.readouterr().out
    for part in ("1 trajectories, random int4", "tokens/s", "4 of 4", "peak"):
        assert part in text


def test_export_in_a_process_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", "--shape", "dense", "--work", tmp_path, "--quant", "int8") == 0
    assert list(tmp_path.iterdir()) == []
    text = capsys.readouterr().out
    for part in ("export of a bfloat16 checkpoint to int8", "export, s", "CPU, s", "peak"):
        assert part in text
