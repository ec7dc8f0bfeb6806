"""`stepguard bench`: tables for people, JSON for machines, clear errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepguard.cli import main

MACHINE = {
    "cpu",
    "cores",
    "memory_gib",
    "system",
    "python",
    "stepguard",
    "onnxruntime",
    "isa",
    "threads",
    "kv",
    "activations",
    "load",
}
MODEL = {"folder", "sha256", "architecture", "weights", "table", "kv", "activations", "prompt"}


def run(*words: object) -> int:
    return main(["bench", *map(str, words)])


def growth(guard: Path, *more: object) -> int:
    return run("growth", guard, "--to", 120, "--step", 16, "--repeats", 2, "--threads", 1, *more)


def test_growth_as_json(tiny_guards: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert growth(tiny_guards["int8"], "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {
        "benchmark",
        "machine",
        "model",
        "settings",
        "peaks",
        "points",
        "growth",
        "cases",
    }
    assert printed["benchmark"] == "growth"
    assert set(printed["machine"]) == MACHINE
    assert set(printed["model"]) == MODEL
    assert printed["settings"] == {"text": "random token ids", "step": 16, "repeats": 2, "seed": 0}
    (point,) = printed["points"]
    assert point["context"] == 120
    assert len(point["step_ms"]) == len(point["again_ms"]) == 2


def test_growth_for_people_on_real_text(
    tiny_guards: dict[str, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert growth(tiny_guards["int8"], "--data", data) == 0
    text = capsys.readouterr().out
    for part in ("ONNX Runtime", "1 threads", "step by step", "read again", "times longer", "120"):
        assert part in text


def test_a_single_length_shows_no_growth(
    tiny_guards: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert growth(tiny_guards["int8"]) == 0
    text = capsys.readouterr().out
    assert "A single length shows no growth" in text
    assert "not known on this machine" not in text


def test_growth_into_a_file_and_pictures(
    tiny_guards: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    file, picture = tmp_path / "growth.json", tmp_path / "growth.svg"
    assert growth(tiny_guards["int8"], "--json", file, "--plot", picture) == 0
    assert json.loads(file.read_text())["benchmark"] == "growth"
    assert "step by step" in capsys.readouterr().out  # the table is printed, too
    assert "<svg" in picture.read_text()[:1000]
    picture = tmp_path / "growth.png"
    assert growth(tiny_guards["int8"], "--plot", picture) == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.usefixtures("no_matplotlib")
def test_no_picture_without_matplotlib(
    tiny_guards: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert growth(tiny_guards["int8"], "--plot", tmp_path / "growth.png") == 1
    assert "pip install 'stepguard[bench]'" in capsys.readouterr().err


def fidelity(data: Path, *words: object) -> int:
    return run("fidelity", *words, "--data", data, "--limit", 3, "--threads", 1)


def test_fidelity_as_json(
    tiny_guards: dict[str, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (tiny_guards["float32"], tiny_guards["int8"], "--kv", "fp16", "--json")
    assert fidelity(data, *words) == 0
    printed = json.loads(capsys.readouterr().out)
    keys = {"benchmark", "machine", "settings", "reference", "threshold", "models"}
    assert set(printed) == keys
    assert set(printed["threshold"]) == {"calibration_of", "margin", "stopped"}
    assert (printed["threshold"]["calibration_of"], printed["threshold"]["margin"]) == (None, 0.0)
    assert set(printed["machine"]) == MACHINE
    assert set(printed["reference"]) == MODEL
    assert printed["settings"]["cut"] == 2048
    assert printed["settings"]["files"] == ["some.jsonl.gz"]
    assert len(printed["settings"]["samples"]) == 3
    half, int8 = printed["models"]
    assert (half["model"]["weights"], half["model"]["kv"]) == ("float32", "fp16")
    assert int8["model"]["weights"] == "int8"
    keys = {"margin_mean", "margin_p95", "margin_max", "margin_bias", "margin_spread"}
    keys |= {"verdicts", "logit_mean", "logit_max", "flips"}
    assert set(int8["comparison"]) == keys
    assert int8["comparison"]["verdicts"] == 6
    assert 0 < half["comparison"]["logit_max"] < int8["comparison"]["logit_max"]
    assert set(int8["agreement"]) == {"agree", "near", "shift", "auroc"}
    assert int8["agreement"]["shift"]["value"] == int8["comparison"]["margin_bias"]
    assert int8["bytes"] < half["bytes"]


def test_fidelity_into_a_file(
    tiny_guards: dict[str, Path],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "fidelity.json"
    assert fidelity(data, tiny_guards["float32"], tiny_guards["int8"], "--json", file) == 0
    assert json.loads(file.read_text())["benchmark"] == "fidelity"
    assert "flips" in capsys.readouterr().out


def test_fidelity_of_both_activations(
    tiny_guards: dict[str, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (tiny_guards["float32"], tiny_guards["int8"], "--activations", "fp32", "int8")
    assert fidelity(data, *words, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    exact, rounded = printed["models"]
    assert [exact["model"]["activations"], rounded["model"]["activations"]] == ["fp32", "int8"]
    assert exact["comparison"] != rounded["comparison"]
    assert printed["reference"]["activations"] == "fp32"


def test_fidelity_for_people(
    tiny_guards: dict[str, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fidelity(data, tiny_guards["float32"], tiny_guards["int8"], "--cut", 260) == 0
    text = capsys.readouterr().out
    parts = ("3 trajectories of at most 260 tokens", "int8 x int8", "flips", "ONNX Runtime")
    for part in (*parts, "a margin of 0 (no guard is calibrated)", "of the nearest"):
        assert part in text


@pytest.mark.parametrize(
    "words",
    [
        ("growth", "MODEL", "--to", "1000000"),
        ("growth", "MODEL", "--to", "20"),
        ("growth", "MODEL", "--repeats", "0"),
        ("growth", "MODEL", "--step", "many"),
        ("growth",),
        ("fidelity", "MODEL", "--data", "DATA"),
        ("fidelity", "MODEL", "MODEL"),
        ("fidelity", "MODEL", "MODEL", "--data", "DATA", "--kv", "int8"),
        ("nonsense",),
        (),
    ],
    ids=str,
)
def test_wrong_usage_exits_2(
    tiny_guards: dict[str, Path], data: Path, words: tuple[str, ...]
) -> None:
    places = {"MODEL": str(tiny_guards["float32"]), "DATA": str(data)}
    with pytest.raises(SystemExit) as stop:
        run(*(places.get(word, word) for word in words))
    assert stop.value.code == 2


def test_what_cannot_be_read_exits_1(
    tiny_guards: dict[str, Path],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    float32, int8 = tiny_guards["float32"], tiny_guards["int8"]
    cases = [
        (lambda: fidelity(data, int8, float32), "expected a float32 export"),
        (lambda: fidelity(empty, float32, int8), "expected at least one trajectory"),
        (lambda: fidelity(tmp_path / "no.jsonl", float32, int8), "no.jsonl"),
        (lambda: fidelity(data, float32, tmp_path), "manifest"),
        (lambda: growth(int8, "--isa", "z80"), "z80"),
        (lambda: growth(int8, "--to", 500, "--data", empty), "expected text of 500 tokens"),
    ]
    for call, text in cases:
        assert call() == 1
        assert text in capsys.readouterr().err
