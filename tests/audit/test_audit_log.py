"""The log of decisions: what is in a line, and how lines are written and chained."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from stepguard import Step
from stepguard.audit import START, AuditLog, hash_step, verify
from stepguard.audit.entry import Outcome
from stepguard.errors import AuditError
from tests.audit.logged import lines
from tests.audit.verdicts import SECRET, STEP, diagnosed, diagnosis, unavailable, verdict


def test_a_line_per_decision(path: Path) -> None:
    with AuditLog(path) as log:
        log.decision(verdict(), step=STEP, session="s")
        log.decision(
            diagnosed(),
            step=STEP,
            outcome=Outcome("block", "risky-tools", ["page"]),
            timings_ms={"policy": 0.5},
            about={"tool": "send", "try": 2},
        )
        log.decision(unavailable())
        log.diagnosis(diagnosis(), session="s")
    one, two, three, four = lines(path)
    assert [line["seq"] for line in (one, two, three, four)] == [0, 1, 2, 3]
    assert (one["kind"], one["session"], one["step"]) == ("decision", "s", 3)
    assert one["verdict"]["allowed"] is True
    assert one["verdict"]["margin"] == -1.5
    assert one["policy"] is one["diagnosis"] is None
    assert (one["model"], one["prompt"], one["text"]) == ("a" * 64, "b" * 64, hash_step(STEP))
    assert two["policy"] == {"outcome": "block", "rule": "risky-tools", "labels": ["page"]}
    assert two["timings_ms"] == {"verdict": 12.5, "policy": 0.5}
    assert two["about"] == {"tool": "send", "try": 2}
    assert two["diagnosis"]["best"] == {"risk_source": "page"}
    assert three["verdict"]["reason"] == "malformed"
    assert three["text"] is None
    assert (four["kind"], four["diagnosis"]["risk_source"]["tool"]) == ("diagnosis", 0.25)


def test_content_only_when_asked(path: Path, tmp_path: Path) -> None:
    for content in (False, True):
        log = tmp_path / str(content)
        with AuditLog(log, content=content) as open_log:
            open_log.decision(verdict(), step=STEP)
            open_log.decision(unavailable(), step=STEP)
        assert (SECRET in log.read_text()) is content
    found = lines(tmp_path / "True")
    assert found[0]["content"]["fields"] == [["thought", SECRET], ["action", 'send("all")']]
    assert found[0]["content"]["rationale"] == f"It says {SECRET}."
    assert found[1]["content"]["message"] == SECRET


def test_every_line_carries_the_hash_of_the_line_before(path: Path) -> None:
    with AuditLog(path) as log:
        returned = [log.decision(verdict()) for _ in range(5)]
        assert log.head == returned[-1]
    raw = path.read_bytes().splitlines()
    hashes = [hashlib.sha256(line).hexdigest() for line in raw]
    assert hashes == returned
    assert [json.loads(line)["prev"] for line in raw] == [START, *hashes[:-1]]


def test_the_hash_of_a_step_is_that_of_its_json() -> None:
    step = Step.user("ä\ud800\n")
    text = '["user",[["content","\\u00e4\\ud800\\n"]]]'
    assert hash_step(step) == hashlib.sha256(text.encode()).hexdigest()


def test_one_write_per_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = os.write, []

    def write(handle: int, data: bytes) -> int:
        written.append(bytes(data))
        return real(handle, data)

    with AuditLog(path) as log:
        monkeypatch.setattr(os, "write", write)
        log.decision(verdict())
        log.decision(verdict())
        monkeypatch.undo()
    assert b"".join(written) == path.read_bytes()
    assert [data.count(b"\n") for data in written] == [1, 1]


def test_fsync(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with AuditLog(path) as log:
        log.decision(verdict())
        assert synced == []
    with AuditLog(path, fsync=True) as log:
        log.decision(verdict())
        assert len(synced) == 1


def test_a_closed_log(path: Path) -> None:
    log = AuditLog(path)
    log.close()
    log.close()
    with pytest.raises(AuditError, match="closed"):
        log.decision(verdict())


@pytest.mark.parametrize("about", [{"a": [1]}, {"a": float("nan")}, {"a": object()}])
def test_what_json_cannot_say(path: Path, about: dict[str, Any]) -> None:
    with AuditLog(path) as log:
        with pytest.raises(AuditError):
            log.decision(verdict(), about=about)
        log.decision(verdict(), about={"odd": "\ud800\0\n\u2028"})
    found = verify([path])
    assert (found.whole, found.lines) == (True, 1)


def test_an_outcome_that_is_none(path: Path) -> None:
    """The word alone, where an Outcome belongs: named, and nothing is written."""
    with AuditLog(path) as log:
        with pytest.raises(AuditError, match="outcome: expected an Outcome, or None, got str"):
            log.decision(verdict(), outcome="block")  # type: ignore[arg-type]
        log.decision(verdict())
    assert verify([path]).lines == 1


def test_a_size_that_is_none(path: Path) -> None:
    with pytest.raises(ValueError, match="most_bytes"):
        AuditLog(path, most_bytes=0)
