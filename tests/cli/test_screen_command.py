"""`stepguard screen`: what it says where it cannot export, and what it prints of a text."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from stepguard.cli import main
from stepguard.errors import ExportError
from stepguard.export.screen import export_screen, flagged_labels
from tests.front.small_screen import make_screen

JOB = """
import json, sys
for line in {lines!r}:
    print(line)
print("the end", file=sys.stderr)
raise SystemExit({status})
"""


def checkpoint_in(folder: Path) -> Path:
    made = folder / "checkpoint"
    made.mkdir()
    (made / "config.json").write_text("{}")
    return made


def test_without_an_environment_it_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ["screen", "export", str(checkpoint_in(tmp_path)), str(tmp_path / "out")]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "--install" in said
    assert str(tmp_path / "cache" / "stepguard" / "optimum") in said
    assert main([*words, "--python", sys.executable]) == 1
    assert "--python PATH" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_is_a_local_folder(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="Give a local folder"):
        export_screen("someone/some-detector", tmp_path / "out", python=Path(sys.executable))


@pytest.mark.parametrize(
    ("lines", "status", "message"),
    [
        (["noise", "[1]"], 0, "turn the checkpoint into ONNX, got the end"),
        ([], 7, "turn the checkpoint into ONNX, got the end"),
        (['{"refused": ["tokenizer", "a", "b"]}'], 3, "tokenizer: expected a, got b"),
        (
            ['{"result": {"difference": 0.01, "labels": ["SAFE", "INJECTION"]}}'],
            0,
            "within 0.0001 of PyTorch's, got a difference of 0.01",
        ),
        (
            ['{"result": {"difference": NaN, "labels": ["SAFE", "INJECTION"]}}'],
            0,
            "got a difference of nan",
        ),
    ],
)
def test_what_goes_wrong_in_the_other_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], status: int, message: str
) -> None:
    job = tmp_path / "job.py"
    job.write_text(JOB.format(lines=lines, status=status))
    monkeypatch.setattr("stepguard.export.screen.JOB", job)
    with pytest.raises(ExportError, match=message):
        export_screen(checkpoint_in(tmp_path), tmp_path / "out", python=Path(sys.executable))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("labels", "wanted", "found"),
    [
        (["SAFE", "INJECTION"], [], ("INJECTION",)),
        (["benign", "Jailbreak", "prompt-injection"], [], ("Jailbreak", "prompt-injection")),
        (["LABEL_0", "LABEL_1"], ["LABEL_1"], ("LABEL_1",)),
    ],
)
def test_labels_that_flag(labels: list[str], wanted: list[str], found: tuple[str, ...]) -> None:
    assert flagged_labels(labels, wanted) == found


@pytest.mark.parametrize(
    ("labels", "wanted", "message"),
    [
        (["LABEL_0", "LABEL_1"], [], "Say which ones flag a text: --flag LABEL"),
        (["SAFE", "INJECTION"], ["injection"], "expected labels of SAFE, INJECTION"),
        (["attack", "injection"], [], "got attack, injection"),
    ],
)
def test_labels_that_have_to_be_named(labels: list[str], wanted: list[str], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        flagged_labels(labels, wanted)


def test_check_prints_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    screen, text = make_screen(tmp_path / "s"), tmp_path / "text"
    text.write_text("a b attack " * 9)
    assert main(["screen", "check", str(screen), str(text)]) == 0
    said = capsys.readouterr().out
    assert "unsure" in said
    assert "99 characters in 5 windows" in said
    assert main(["screen", "check", str(screen), str(text), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "unsure"
    text.write_bytes(b"\xff")
    assert main(["screen", "check", str(screen), str(text)]) == 1
    assert "expected UTF-8 text" in capsys.readouterr().err
