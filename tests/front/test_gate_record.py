"""A call whose decision was not recorded does not run."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from stepguard import Guard
from stepguard.audit import AuditLog, Recorder, hash_step, verify
from stepguard.errors import AuditError
from stepguard.gate import Gate
from stepguard.policy import Decision, Outcome, Policy, Settings
from stepguard.taxonomy import LabelRows
from tests.front.conversing import agent, call, fresh, result, talk, user
from tests.front.fakes import FakeTicket

ALLOWS = [user("x"), agent("t", call("ls", 1))]
LATE = Policy(default=Settings(unavailable=Outcome.ALLOW), deadline_ms=60_000)


@pytest.fixture(autouse=True)
def safe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LabelRows, "margin", lambda *_: -2.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.jsonl"


def lines(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    return [line for line in found if line["kind"] == "decision"]


def rules(found: list[Decision]) -> list[tuple[str, str]]:
    return [(str(decision.outcome), decision.rule) for decision in found]


def test_every_decision_has_a_line(
    guard: Guard, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AuditLog(path) as log, Gate(guard, record=Recorder(log)) as gate:
        (good,) = gate.check("a", ALLOWS)
        assert len(lines(path)) == 1, "it is there before the host is told"
        monkeypatch.setattr(LabelRows, "margin", lambda *_: 2.0)
        two = agent("t", call("rm", 1), call("rm", 2))
        bad = gate.check("b", [user("x"), two])
        (odd,) = asyncio.run(gate.acheck("c", [{"odd": 1}]))
    found = lines(path)
    assert verify([path]).whole
    assert [line["session"] for line in found] == ["a", "b", "b", "c"]
    assert [line["policy"]["outcome"] for line in found] == ["allow", "block", "block", "block"]
    assert [line["policy"]["rule"] for line in found[1:3]] == [one.rule for one in bad]
    assert found[0]["about"] == {"tool": "ls", "call_id": "call-1"}
    assert found[0]["model"] == guard.manifest.sha256
    assert good.step is not None
    assert odd.step is not None
    assert [found[0]["text"], found[3]["text"]] == [hash_step(good.step), hash_step(odd.step)]
    assert good.step.fields[-1][1].json == '{"name": "ls", "arguments": {}}'
    assert 0 < found[0]["timings_ms"]["verdict"] <= found[0]["timings_ms"]["decision"]
    assert found[3]["verdict"]["reason"] == "malformed"


def test_a_closed_log_blocks_what_would_have_run(guard: Guard, path: Path) -> None:
    log = AuditLog(path)
    with Gate(guard, record=Recorder(log)) as gate:
        assert rules(gate.check("a", ALLOWS)) == [("allow", "safe")]
        log.close()
        (decision,) = gate.check("b", ALLOWS)
        assert rules([decision]) == [("block", "record")]
        assert "could not be recorded" in decision.text
        assert rules(asyncio.run(gate.acheck("c", ALLOWS))) == [("block", "record")]
    assert len(lines(path)) == 1


def test_a_full_disk_blocks_until_there_is_room(
    guard: Guard, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    longer = [*ALLOWS, result(1, "no"), agent("", call("ls", 2))]
    with AuditLog(path) as log, Gate(guard, record=Recorder(log)) as gate:
        with monkeypatch.context() as patch:
            patch.setattr("stepguard.audit.log.os.write", full)
            assert rules(gate.check("a", ALLOWS)) == [("block", "record")]
        (after,) = gate.check("a", longer)
    assert rules([after]) == [("allow", "safe")]
    clean = [user("x"), *longer[2:]]
    assert after.verdict is not None
    assert after.verdict.step == fresh(clean).joint.step, "the call that did not run is left out"
    assert verify([path]).whole
    assert [line["policy"]["outcome"] for line in lines(path)] == ["allow"]


def test_a_second_writer_is_refused_at_the_start(guard: Guard, path: Path) -> None:
    with AuditLog(path) as log, Gate(guard, record=Recorder(log)) as gate:
        with pytest.raises(AuditError, match="other writer"):
            AuditLog(path)
        assert rules(gate.check("a", ALLOWS)) == [("allow", "safe")]


def test_a_disk_that_hangs_does_not_hang_the_host(guard: Guard) -> None:
    hangs = threading.Event()
    policy = Policy(deadline_ms=800)
    with Gate(guard, policy, record=lambda *_: hangs.wait(30)) as gate:
        started = time.monotonic()
        assert rules(gate.check("a", ALLOWS)) == [("block", "record")]
        assert rules(asyncio.run(gate.acheck("b", ALLOWS))) == [("block", "record")]
        assert time.monotonic() - started < 10
        hangs.set()


@pytest.mark.parametrize("closed", [False, True])
def test_what_was_not_recorded_in_time_has_not_happened(guard: Guard, closed: bool) -> None:
    hangs = threading.Event()
    longer = [*ALLOWS, result(1, "no"), agent("", call("ls", 2))]
    with Gate(guard, Policy(deadline_ms=800), record=lambda *_: hangs.wait(30)) as gate:
        assert gate._recording is not None
        if closed:
            gate._recording.close()
        assert rules(gate.check("a", ALLOWS)) == [("block", "record")]
        hangs.set()
        (after,) = gate.check("a", longer)
    assert after.verdict is not None
    clean = [user("x"), *longer[2:]]
    assert after.verdict.step == fresh(clean).joint.step, "the call that did not run is left out"


def test_a_late_decision_is_recorded_once_and_as_the_host_heard_it(
    guard: Guard, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FakeTicket.wait

    def slow(self: FakeTicket, timeout: float | None = None) -> Any:
        time.sleep(0.5)
        return real(self, timeout)

    monkeypatch.setattr(FakeTicket, "wait", slow)
    with AuditLog(path) as log, Gate(guard, record=Recorder(log)) as gate:
        (decision,) = gate.check("a", ALLOWS, deadline_ms=50)
        time.sleep(1.5)
    (line,) = lines(path)
    assert (line["policy"]["outcome"], line["policy"]["rule"]) == ("block", decision.rule)
    assert line["verdict"]["reason"] == "deadline"


def test_what_the_policy_lets_run_unjudged_needs_a_record_too(guard: Guard) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("planted")

    with Gate(guard, LATE, record=broken) as gate:
        assert rules(gate.check("a", [{"odd": 1}])) == [("block", "record")]
    with Gate(guard, LATE) as gate:
        assert rules(gate.check("a", [{"odd": 1}])) == [("allow", "default.unavailable")]


def test_a_forked_child_records_nothing_and_blocks(guard: Guard, path: Path) -> None:
    log = AuditLog(path)
    gate = Gate(guard, LATE, record=Recorder(log))
    gate.check("key", talk(1))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if rules(gate.check("key", talk(1))) == [("block", "record")] else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    gate.close()
    log.close()
    assert len(lines(path)) == 1
