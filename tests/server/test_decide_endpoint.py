"""/v1/decide is the gate over HTTP: the same decisions, keys of one user apart from another's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepguard import Guard
from stepguard.gate import Gate
from stepguard.policy import parse_policy
from stepguard.server import Settings
from stepguard.server.app import App
from tests.server.client import Client
from tests.server.serving import on_thread

MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": "Clean up."}]
CALL = {"id": "c1", "type": "function", "function": {"name": "rm", "arguments": '{"path": "/"}'}}


def test_the_decisions_are_those_of_the_gate(model: Path, tmp_path: Path) -> None:
    with Guard.load(model, threads=1, save_prefix=False) as guard:
        with Gate(guard) as gate:
            (ours,) = gate.check("k", MESSAGES, [CALL], deadline_ms=20_000)
        with on_thread(guard, tmp_path) as (client, server):
            body = {"key": "k", "messages": MESSAGES, "calls": [CALL], "deadline_ms": 20_000}
            (served,) = client.post("/v1/decide", body).json["decisions"]
            kept = server.app.shared.gate.conversations
            assert len(kept) == 1
            decided = {"key": "k", "calls": [CALL], "ran": False}
            assert client.post("/v1/decided", decided).status == 200
            assert client.post("/v1/forget", {"key": "k"}).json == {}
            assert len(kept) == 0
    assert served == ours.to_dict()
    assert served["tool"] == "rm"


def test_what_cannot_be_read_is_a_decision_and_not_an_error(client: Client) -> None:
    body = {"key": "k", "messages": 7, "calls": [CALL]}
    (decision,) = client.post("/v1/decide", body).json["decisions"]
    assert decision["outcome"] == "block"
    answer = client.post("/v1/decide", {"messages": MESSAGES})
    assert (answer.status, answer.error["where"]) == (400, "body.key")


@pytest.mark.parametrize(
    ("outcome", "said"), [("ask", b'"ask"'), ("allow", b""), ("block", b"deny")]
)
def test_the_policy_decides_what_hooks_say(
    client: Client, outcome: str, said: bytes, engine: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    from tests.front.fakes import make_guard

    policy = parse_policy({"version": 1, "tools": [{"match": ["Bash"], "unsafe": outcome}]})
    monkeypatch.setattr("stepguard.taxonomy.LabelRows.margin", lambda *_: 2.0)
    folder = tmp_path / "other"
    folder.mkdir()
    event = {"session_id": "s", "hook_event_name": "PreToolUse", "tool_name": "Bash"}
    with make_guard(engine) as guard, on_thread(guard, folder, policy=policy) as (other, _):
        answer = other.post("/v1/hooks/claude-code", {**event, "tool_input": {}})
        assert said in answer.body
        assert bool(said) == bool(answer.body)
        elsewhere = {**event, "tool_name": "Write", "tool_input": {}}
        assert b'"deny"' in other.post("/v1/hooks/claude-code", elsewhere).body


def test_without_a_policy_only_safe_calls_run(engine: Any) -> None:
    from tests.front.fakes import make_guard

    with make_guard(engine) as guard:
        assert App(guard, Settings()).shared.gate.policy.default.unsafe == "block"


def test_names_that_no_utf8_can_say_are_answered_too(client: Client) -> None:
    odd = {"id": "\ud800", "name": "\udfff", "args": {"x": "\ud800"}}
    for body in (
        {"key": "\ud800", "messages": [{"role": "user", "content": "\ud800"}], "calls": [odd]},
        {"key": "k", "messages": [*MESSAGES, {"role": "assistant", "tool_calls": [odd]}]},
    ):
        answer = client.post("/v1/decide", body)
        assert answer.status == 200
        (decision,) = answer.json["decisions"]
        assert (decision["tool"], decision["call_id"]) == ("\udfff", "\ud800")
