"""`stepguard export`: what it says while it works, and when it is done."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepguard.cli import export as export_command
from stepguard.manifest import Manifest
from tests.cli.ran import Ran
from tests.export.tiny import make_checkpoint
from tests.front.manifests import sample

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


def test_the_options_of_export(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    exported: list[dict[str, Any]] = []

    def export(_: Path, __: Path, **options: Any) -> Manifest:
        exported.append(options)
        return Manifest.from_dict(sample())

    monkeypatch.setattr(export_command, "export_with_bar", export)
    words = ["CKPT", "OUT", "--quant", "int4", "--prompt", "P", "--adapter", "A", "--force"]
    asked = ["--prompt-taxonomy", "T", "--answer", "word", "--mode", "rationale"]
    asked += ["--taxonomy", "all"]
    assert run("export", *words, *asked, "--thinking", "on", "--rationale", "off").status == 0
    assert run("export", "CKPT", "OUT", "--template", "short", "--json").status == 0
    nothing = dict.fromkeys(
        ("prompt", "template", "adapter", "prompt_taxonomy", "answer", "mode", "thinking",
         "rationale", "taxonomy")
    )  # fmt: skip
    given = {"prompt": "P", "adapter": "A", "prompt_taxonomy": "T", "answer": "word"}
    given |= {"mode": "rationale", "thinking": True, "rationale": False}
    given |= {"taxonomy": "all"}
    assert exported == [
        {**nothing, **given, "quant": "int4", "overwrite": True},
        {**nothing, "quant": "auto", "template": "short", "overwrite": False},
    ]
