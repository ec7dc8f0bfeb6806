"""What follows a decision later has a line of its own, once."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from stepguard import Diagnosis, Verdict
from stepguard.audit import AuditLog, Recorder, verify
from stepguard.errors import AuditError
from stepguard.policy import Decision, Outcome
from tests.audit.logged import lines
from tests.audit.verdicts import SECRET, STEP, diagnosis, verdict


def decision(verdict: Verdict, call: str = "c") -> Decision:
    return Decision(
        outcome=Outcome.BLOCK,
        rule="default.unsafe",
        tool="send",
        call_id=call,
        verdict=verdict,
        step=STEP,
        passed_ms=20.0,
    )


def test_a_diagnosis_that_two_decisions_share(tmp_path: Path) -> None:
    path, later = tmp_path / "log", Future[Diagnosis]()
    with AuditLog(path) as log:
        record = Recorder(log)
        record("k", decision(verdict(diagnosis=later), "one"))
        record("k", decision(verdict(diagnosis=later), "two"))
        later.set_result(diagnosis())
        record("k", decision(verdict(diagnosis=later), "three"))
    found = lines(path)
    assert [line["kind"] for line in found] == ["decision", "decision", "diagnosis", "decision"]
    assert [line["diagnosis"] is None for line in found] == [True, True, False, False]
    assert [line["about"]["call_id"] for line in found if "about" in line] == [
        "one",
        "two",
        "three",
    ]
    assert found[0]["timings_ms"] == {"verdict": 12.5, "decision": 20.0}
    assert found[0]["policy"] == {"outcome": "block", "rule": "default.unsafe", "labels": []}
    assert SECRET not in path.read_text(encoding="ascii")
    assert verify([path]).whole


def test_a_second_verdict_names_the_first(tmp_path: Path) -> None:
    path, later = tmp_path / "log", Future[Verdict]()
    with AuditLog(path) as log:
        line = Recorder(log).verdict("k", verdict(second=later), step=STEP)
        later.set_result(verdict(margin=3.0))
    first, second = lines(path)
    assert second["about"] == {"call": "second", "of": line}
    assert second["prev"] == line, "it is the hash of the line before"
    assert (second["verdict"]["margin"], second["text"]) == (3.0, first["text"])


def test_what_comes_after_the_end_of_the_log_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    later = Future[Diagnosis]()
    with AuditLog(tmp_path / "log") as log:
        Recorder(log)("k", decision(verdict(diagnosis=later)))
    with caplog.at_level(logging.ERROR, "stepguard"):
        later.set_result(diagnosis())
    assert "could not be recorded" in caplog.text


def test_long_names_are_cut_and_no_verdict_is_no_decision(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with AuditLog(path) as log:
        Recorder(log)("k", decision(verdict(), "x" * 1000))
        with pytest.raises(AuditError, match="one with a verdict"):
            Recorder(log)("k", Decision(outcome=Outcome.ALLOW, rule="safe"))
    (line,) = lines(path)
    assert line["about"]["call_id"] == "x" * 256


def test_who_waits_has_all_that_follows(tmp_path: Path) -> None:
    path, later, failed = tmp_path / "log", Future[Verdict](), list[Exception]()
    broken = Future[Diagnosis]()
    with AuditLog(path) as log:
        recorder = Recorder(log, failed.append)
        recorder.verdict("k", verdict(second=later, diagnosis=broken), step=STEP)
        timer = threading.Timer(0.1, lambda: later.set_result(verdict(margin=3.0)))
        timer.start()
        broken.set_exception(RuntimeError("planted"))
        recorder.wait()
        assert len(lines(path)) == 2
        timer.join()
    assert [str(error) for error in failed] == ["planted"]
