"""Everything that a server says is in its log before it is said; what cannot be is not said."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepguard import Step
from stepguard.audit import AuditLog, Recorder, hash_step, verify
from tests.front.fakes import make_guard
from tests.server.client import ACTION, USER, Client
from tests.server.serving import Gate, on_thread

CALL = {"id": "c1", "type": "function", "function": {"name": "ls", "arguments": "{}"}}
DECIDE = {"key": "k", "messages": [{"role": "user", "content": "x"}], "calls": [CALL]}
HOOK = {"session_id": "s", "hook_event_name": "PreToolUse", "tool_name": "Bash"}


def hook(call: str) -> dict[str, Any]:
    return {**HOOK, "tool_input": {"command": call}, "tool_use_id": call}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.jsonl"


@pytest.fixture
def recorded(
    engine: Gate, tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """A client of a server that records, whose guard finds everything safe."""
    monkeypatch.setattr("stepguard.taxonomy.LabelRows.margin", lambda *_: -2.0)
    folder = tmp_path / "run"
    folder.mkdir()
    with (
        AuditLog(path) as log,
        make_guard(engine) as guard,
        on_thread(guard, folder, recorder=Recorder(log)) as (client, _),
    ):
        yield client
    assert verify([path]).whole


def lines(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    return [line for line in found if line["kind"] == "decision"]


def test_a_session_line_by_line(recorded: Client, path: Path) -> None:
    session = recorded.open()
    recorded.post(f"{session}/observe", {"step": USER})
    first = recorded.post(f"{session}/check", {"step": ACTION}).json
    recorded.post(f"{session}/commit", {"id": first["id"]})
    second = recorded.post(f"{session}/check", {"step": ACTION}).json
    recorded.post(f"{session}/reject", {"id": second["id"]})
    recorded.post(f"{session}/push", {"step": ACTION})
    recorded.post(f"{session}/judge", {})
    recorded.post(f"{session}/turn", {"thought": "t", "actions": ["a()", "b()"]})
    found = lines(path)
    words = ["check", "commit", "check", "reject", "push", "judge", "turn", "turn", "turn"]
    assert [line["about"]["call"] for line in found] == words
    assert {line["session"] for line in found} == {session.removeprefix("/v1/sessions/")}
    outcomes = [line["policy"] and line["policy"]["outcome"] for line in found]
    assert outcomes == [None, "commit", None, "reject", None, None, None, None, None]
    # What was decided names the line of its check, by the hash that the line after it carries.
    assert found[1]["about"]["of"] == found[1]["prev"]
    assert found[3]["about"]["of"] == found[3]["prev"]
    assert found[7]["about"]["of"] == found[8]["about"]["of"] == found[7]["prev"]
    step = hash_step(Step.from_dict(ACTION, "step"))
    assert [line["text"] == step for line in found[:5]] == [True, False, True, False, True]
    texts = [Step.agent("t", one) for one in ("a()\nb()", "a()", "b()")]
    assert [line["text"] for line in found[6:]] == [hash_step(one) for one in texts]
    assert [line["verdict"]["margin"] for line in found] == [-2.0] * 9


def test_hooks_decisions_and_moderations(recorded: Client, path: Path) -> None:
    assert recorded.post("/v1/hooks/codex", hook("a")).body == b""
    assert recorded.post("/v1/decide", DECIDE).json["decisions"][0]["outcome"] == "allow"
    recorded.post("/v1/moderations", {"input": ["x", "y"]})
    found = lines(path)
    assert [line["about"].get("call") for line in found] == [None, None, "moderation", "moderation"]
    assert found[0]["about"] == {"tool": "Bash", "call_id": "a"}
    assert [line["policy"] and line["policy"]["outcome"] for line in found[:2]] == ["allow"] * 2
    assert found[0]["timings_ms"]["decision"] > 0
    assert [line["text"] for line in found[2:]] == [hash_step(Step.user(t)) for t in ("x", "y")]
    assert found[0]["text"] is not None
    assert found[1]["text"] is not None


def test_what_cannot_be_recorded_is_not_said(
    recorded: Client, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    session = recorded.open()
    checked = recorded.post(f"{session}/check", {"step": ACTION}).json
    with monkeypatch.context() as patch:
        patch.setattr("stepguard.audit.log.os.write", full)
        for name, body in [
            ("commit", {"id": checked["id"]}),
            ("push", {"step": ACTION}),
            ("check", {"step": ACTION}),
            ("turn", {"actions": ["a()", "b()"]}),
            ("judge", {}),
        ]:
            answer = recorded.post(f"{session}/{name}", body)
            assert (answer.status, answer.error["type"]) == (503, "NotRecorded")
            assert str(path) not in answer.body.decode()
        assert recorded.post("/v1/moderations", {"input": "x"}).status == 503
        denied = recorded.post("/v1/hooks/codex", hook("a"))
        assert b"could not be recorded" in denied.body
        (decision,) = recorded.post("/v1/decide", DECIDE).json["decisions"]
        assert (decision["outcome"], decision["rule"]) == ("block", "record")
    assert len(lines(path)) == 1
    # Nothing of it is part of a trajectory, and everything goes on.
    after = recorded.post(f"{session}/push", {"step": ACTION}).json
    assert (after["id"], after["verdict"]["step"]) == (2, 0)
    assert recorded.post("/v1/hooks/codex", hook("b")).body == b""
    assert [line["step"] for line in lines(path)] == [0, 0, 0]
