"""stepguard report."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepguard.guard import Guard
from tests.cli.ran import Ran
from tests.front.diagnosable import make_diagnosable
from tests.front.fakes import FakeEngine
from tests.front.test_guard import TALK, TRAJECTORY
from tests.report.pages import Read

Run = Callable[..., Ran]
Answering = Callable[..., None]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trajectory.json"
    path.write_text(json.dumps(TRAJECTORY))
    return path


def text_of(page: Path) -> str:
    return " ".join("".join(Read(page.read_text()).texts).split())


def test_with_a_model(run: Run, engine: FakeEngine, answering: Answering, file: Path) -> None:
    answering("safe", "unsafe")
    page = file.with_suffix(".html")
    assert run("report", file, "-o", page, "--model", "model", "--kv", "fp32") == Ran(0, "", "")
    assert engine.loaded[0]["kv"] == "fp32"  # type: ignore[attr-defined]
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    seen = text_of(page)
    assert "unsafe It turned at step 5, verdict 2 of 2." in seen
    assert "never trained to judge" in seen
    assert "No diagnosis was made." in seen


def test_the_same_from_saved_verdicts(
    run: Run, engine: FakeEngine, answering: Answering, file: Path
) -> None:
    answering("safe", "unsafe")
    saved, page = file.with_name("saved.json"), file.with_suffix(".html")
    saved.write_text(run("moderate", "model", file, "--json").out)
    engine.loaded.clear()  # type: ignore[attr-defined]
    pages = []
    for _ in range(2):
        assert run("report", file, "-o", page, "--verdicts", saved) == Ran(0, "", "")
        pages.append(page.read_bytes())
    assert engine.loaded == []  # type: ignore[attr-defined]
    assert pages[0] == pages[1]
    assert "It turned at step 5" in text_of(page)


def test_a_guard_with_labels_diagnoses(
    run: Run, engine: FakeEngine, answering: Answering, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guard, "load", lambda *_, **__: make_diagnosable(engine))
    answering("safe", "unsafe")
    page = file.with_suffix(".html")
    assert run("report", file, "-o", page, "--model", "model").status == 0
    seen = text_of(page)
    for part in ("Where the risk came from", "How the agent failed", "What harm follows"):
        assert part in seen
    assert "failure_mode-haste" in seen


def test_one_of_many(run: Run, engine: FakeEngine, answering: Answering, tmp_path: Path) -> None:
    answering("safe")
    file, page, saved = (tmp_path / name for name in ("many.jsonl", "page.html", "saved.json"))
    file.write_text("\n".join([json.dumps({"id": "one", **TRAJECTORY}), json.dumps(TALK)]))
    ran = run("report", file, "-o", page, "--model", "model")
    assert ran.status == 1
    assert "Say which with --number." in ran.err
    assert run("report", file, "-o", page, "--model", "model", "--number", "3").status == 1
    assert not page.exists()
    saved.write_text(run("moderate", "model", file, "--json").out)
    for source in (("--model", "model"), ("--verdicts", saved)):
        for number, name in ((1, "one"), (2, "many.jsonl")):
            assert run("report", file, "-o", page, *source, "--number", number).status == 0
            assert f"stepguard: {name}" in text_of(page)


def test_verdicts_of_another_file(
    run: Run, engine: FakeEngine, answering: Answering, file: Path, tmp_path: Path
) -> None:
    answering("safe")
    other, saved = tmp_path / "other.json", tmp_path / "saved.json"
    other.write_text(json.dumps(TALK))
    saved.write_text(run("moderate", "model", other, "--json").out)
    ran = run("report", file, "-o", tmp_path / "x.html", "--verdicts", saved)
    assert ran.status == 1
    assert "the steps 1, 5 of the trajectory, got 0" in ran.err
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize(
    "saved", [b"", b"{", b"[" * 100_000, b"\xff", b"[]", b"{}", b'{"model":1}']
)
def test_saved_verdicts_that_are_none(run: Run, file: Path, saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    path.write_bytes(saved)
    ran = run("report", file, "-o", tmp_path / "x.html", "--verdicts", path)
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "TrajectoryError" in ran.err
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize(
    "words", [[], ["--model", "a", "--verdicts", "b"], ["--model", "a", "--number", "0"]]
)
def test_wrong_usage(run: Run, file: Path, words: list[Any]) -> None:
    ran = run("report", file, "-o", "x.html", *words)
    assert (ran.status, ran.out) == (2, "")


def test_a_page_that_cannot_be_written(
    run: Run, engine: FakeEngine, answering: Answering, file: Path, tmp_path: Path
) -> None:
    answering("safe")
    (tmp_path / "file").write_text("")
    ran = run("report", file, "-o", tmp_path / "file" / "x.html", "--model", "model")
    assert ran.status == 1
    assert "stepguard: " in ran.err
