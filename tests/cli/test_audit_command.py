"""stepguard audit, and moderate --audit."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepguard.audit import AuditLog, hash_step, verify
from stepguard.prompt import Step
from tests.audit.verdicts import verdict
from tests.cli.ran import Ran
from tests.cli.test_stream import LINES, Stdin
from tests.front.fakes import FakeEngine
from tests.front.test_guard import TALK, TRAJECTORY

Run = Callable[..., Ran]
Answering = Callable[..., None]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "decisions.jsonl"
    with AuditLog(path) as writer:
        for step in range(30):
            writer.decision(verdict(step=step))
    return path


def test_a_whole_log(run: Run, log: Path) -> None:
    head = verify([log]).head
    ran = run("audit", "verify", log)
    assert (ran.status, ran.err) == (0, "")
    assert f"30 lines in 1 files, head {head}" in ran.out
    assert "The chain is whole." in ran.out
    assert "accidents, not attackers" in ran.out
    ran = run("audit", "verify", log, "--anchor", head)
    assert ran.status == 0
    assert "0 lines follow" in ran.out
    assert "attackers" not in ran.out


def test_where_it_breaks(run: Run, log: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:6], *lines[7:]]))
    ran = run("audit", "verify", log)
    assert ran.status == 1
    words = " ".join(ran.out.split())
    assert re.search(r" 7 1 lines before it are", words)
    value = json.loads(run("audit", "verify", log, "--json").out)
    (broken,) = value["breaks"]
    assert (broken["file"], broken["line"]) == (str(log), 7)
    assert not value["whole"]
    page = run("audit", "verify", "--help").out.partition("keys of --json")[2]
    assert {*value, *broken} <= set(re.findall(r"\w+", page))


def test_a_torn_line_is_said(run: Run, log: Path) -> None:
    with log.open("ab") as file:
        file.write(b'{"v":1')
    ran = run("audit", "verify", log)
    assert (ran.status, "6 bytes at the end are no line yet" in ran.out) == (0, True)
    AuditLog(log).close()
    ran = run("audit", "verify", log)
    assert ran.status == 0
    assert "line 31: a crash left a part of a line" in " ".join(ran.out.split())


def test_many_breaks_are_counted(run: Run, log: Path) -> None:
    log.write_bytes(log.read_bytes().replace(b'"score"', b'"Score"'))
    ran = run("audit", "verify", log)
    assert ran.status == 1
    assert "and 9 more" in ran.out


@pytest.mark.parametrize("words", [["none"], ["x.lock"], ["log", "--anchor", "zz"]])
def test_what_cannot_be_checked(run: Run, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "log").write_text("")
    ran = run("audit", "verify", tmp_path / words[0], *words[1:])
    assert (ran.status, ran.out) == (1, "")
    assert "stepguard: AuditError: " in ran.err


def test_moderate_logs_every_verdict(
    run: Run, engine: FakeEngine, answering: Answering, tmp_path: Path
) -> None:
    answering("safe", "unsafe", "safe")
    file, log = tmp_path / "many.jsonl", tmp_path / "log"
    file.write_text("\n".join([json.dumps({"id": "one", **TRAJECTORY}), json.dumps(TALK)]))
    value = json.loads(run("moderate", "model", file, "--json", "--audit", log).out)
    found = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["session"], line["step"]) for line in found] == [
        ("one", 1), ("one", 5), ("line 2", 0),
    ]  # fmt: skip
    assert [line["verdict"]["status"] for line in found] == ["safe", "unsafe", "safe"]
    assert found[0]["text"] == hash_step(Step.from_dict(TRAJECTORY["contents"][0][1]))
    assert found[0]["model"] == value["trajectories"][0]["verdicts"][0]["guard"]["model"]
    assert "Reading." not in log.read_text()
    assert verify([log]).whole


def test_a_stream_is_logged_before_it_is_answered(
    run: Run, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setattr(sys, "stdin", Stdin(*LINES))
    ran = run("moderate", "model", "-", "--audit", log, "--audit-content")
    answered = [json.loads(line) for line in ran.out.splitlines()]
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in logged] == [line["step"] for line in answered] == [1, 5]
    assert logged[0]["content"]["fields"] == [["thought", "Reading."], ["action", "read()"]]

    def full(*_: Any, **__: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdin", Stdin(*LINES))
    monkeypatch.setattr("stepguard.audit.log.os.write", full)
    ran = run("moderate", "model", "-", "--audit", log)
    monkeypatch.undo()
    assert (ran.status, ran.out) == (1, "")
    assert "No space left on device" in ran.err
