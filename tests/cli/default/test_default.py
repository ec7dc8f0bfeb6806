"""The word "default", and what stepguard default says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.default.installing import Run
from tests.cli.default.small_default import Small


def test_the_word_default_names_it_for_every_command(
    run: Run, package: Small, tmp_path: Path
) -> None:
    for words in (("moderate", "default", "t.json"), ("serve", "default")):
        ran = run(*words)
        assert ran.status == 1
        assert "Type: stepguard default install" in ran.err
    assert run("default", "install").status == 0
    facts = json.loads(run("inspect", "default", "--json").out)
    assert facts["path"] == run("default", "path").out.strip()


def test_the_card_says_what_is_known(run: Run, package: Small) -> None:
    ran = run("default", "card")
    assert "4 records, 2 unsafe (MIT); agents of 1 kinds" in ran.out
    assert "not measured yet" in ran.out
    pairs = {"pairs": 8, "families": 2, "command": "stepguard bench pairs G D"}
    rate = {"right": 6, "of": 8, "rate": 0.75, "low": 0.5, "high": 1.0}
    (package.kept / "pairs.json").write_text(json.dumps({**pairs, "act": rate, "whole": rate}))
    text = " ".join(run("default", "card").out.split())
    assert "in 6 of 8: 75 % (95 %: 50 to 100); chance gives 50 %" in text
    found: dict[str, Any] = json.loads(run("default", "card", "--json").out)
    assert found["learned"]["mine"]["models"] == {"a-model": 3}
    assert found["pairs"]["act"] == rate


def test_the_card_tells_the_last_run_from_those_before(run: Run, package: Small) -> None:
    assert "3 of 4 records" in " ".join(run("default", "card").out.split())
    path = package.kept / "guard.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"given": 3}))
    assert "3 of 3 records in the last run, 4 in all" in " ".join(
        run("default", "card").out.split()
    )


def test_the_folder_without_a_variable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_DATA_HOME", value)
        assert run("default", "path").out == "/somewhere/.local/share/stepguard/default\n"
