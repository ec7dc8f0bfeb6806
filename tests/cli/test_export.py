"""`stepguard export`: what it says while it works, and when it is done."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.ran import Ran
from tests.export.tiny import make_checkpoint

Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("export") / "checkpoint", "qwen3")


def test_an_export_says_how_long_it_took(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    ran = run("export", checkpoint, tmp_path / "model", "--quant", "int8")
    assert ran.status == 0
    assert re.search(r"^time +\d+\.\d s *$", ran.out, re.MULTILINE)
    assert "━" not in ran.err  # a bar is for terminals


def test_the_same_for_programs(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    ran = run("export", checkpoint, out, "--json")
    facts = json.loads(ran.out)
    assert facts["path"] == str(out)
    assert 0 < facts["seconds"] < 600
    written = json.loads((out / "manifest.json").read_text())
    assert written.items() <= facts.items()


def test_a_terminal_shows_a_bar(
    run: Run, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    ran = run("export", checkpoint, tmp_path / "model")
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", ran.err)
    assert re.search(r"━ *(\d+\.\d/\d+\.\d|\d+/\d+) [kM]?B", seen)
