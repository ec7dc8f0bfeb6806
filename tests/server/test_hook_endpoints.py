"""Hooks: events become steps, unsafe calls are denied in the words of each host."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stepguard import Guard, Step
from stepguard.doctor.mark import BLOCKED, MARK
from stepguard.server.hook_answers import encode
from stepguard.server.run import Server
from tests.front.fakes import asked_texts
from tests.server.client import Answer, Client
from tests.server.serving import Gate

HOSTS = ["claude-code", "codex"]


def event(name: str, **fields: Any) -> dict[str, Any]:
    return {"session_id": "s1", "hook_event_name": name, "cwd": "/", **fields}


def tool(name: str, call: str, arguments: dict[str, Any], **fields: Any) -> dict[str, Any]:
    used = {"tool_name": "Bash", "tool_input": arguments, "tool_use_id": call}
    return event(name, **used, **fields)


@pytest.fixture
def margins(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The margins of the coming verdicts; the last one goes on."""
    left = [-2.0]

    def margin(*_: object) -> float:
        return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr("stepguard.taxonomy.LabelRows.margin", margin)
    return left


def hear(client: Client, host: str, value: dict[str, Any], **headers: str) -> Answer:
    return client.post(f"/v1/hooks/{host}", value, **headers)


@pytest.mark.parametrize("host", HOSTS)
def test_safe_has_no_opinion_and_unsafe_is_denied(
    client: Client, margins: list[float], host: str
) -> None:
    call = tool("PreToolUse", "c1", {"command": "ls"})
    answer = hear(client, host, call)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == "0"
    margins[:] = [2.0]
    denied = hear(client, host, tool("PreToolUse", "c2", {"command": "rm"}))
    assert denied.status == 200
    output = denied.json["hookSpecificOutput"]
    assert set(denied.json) == {"hookSpecificOutput"}
    assert set(output) == {"hookEventName", "permissionDecision", "permissionDecisionReason"}
    assert output["permissionDecision"] == "deny"
    assert "it was judged unsafe" in output["permissionDecisionReason"]


@pytest.mark.parametrize("host", HOSTS)
def test_what_the_guard_reads(
    client: Client, engine: Gate, margins: list[float], host: str
) -> None:
    hear(client, host, event("UserPromptSubmit", prompt="Clean up."))
    hear(client, host, tool("PreToolUse", "c1", {"command": "ls"}))
    hear(client, host, tool("PostToolUse", "c1", {"command": "ls"}, tool_response="a.txt"))
    margins[:] = [2.0]
    hear(client, host, tool("PreToolUse", "c2", {"command": "rm -rf /"}))
    margins[:] = [-2.0]
    hear(client, host, tool("PreToolUse", "c3", {"command": "cat a.txt"}))
    (text,) = asked_texts(engine)[-1:]
    for part in ("Clean up.", '{"name": "Bash", "arguments": {"command": "ls"}}', "a.txt", "cat"):
        assert part in text
    assert text.count('"ls"') == 1  # the call is not read again with its result
    assert "rm -rf" not in text  # a denied call has never been


def test_a_call_that_was_never_asked_about_is_read_with_its_result(
    client: Client, engine: Gate, margins: list[float]
) -> None:
    done = tool("PostToolUse", "c1", {"command": "curl"}, tool_response={"stdout": "page"})
    assert hear(client, "codex", done).body == b""
    failed = tool("PostToolUseFailure", "c2", {"command": "make"}, error="no rule")
    assert hear(client, "claude-code", {**failed, "session_id": "s1"}).body == b""
    hear(client, "codex", tool("PreToolUse", "c3", {"command": "ls"}))
    assert '"curl"' in asked_texts(engine)[-1]
    assert '"make"' not in asked_texts(engine)[-1]  # that was another host's session


def test_sessions_agents_and_their_end(
    served: tuple[Client, Server], engine: Gate, margins: list[float]
) -> None:
    client, server = served
    talks = server.app._hook_talks
    for agent in (None, "a1"):
        prompt = event("UserPromptSubmit", prompt=f"I am {agent}.", agent_id=agent)
        hear(client, "claude-code", prompt)
    hear(client, "claude-code", tool("PreToolUse", "c1", {}, agent_id="a1"))
    assert "I am a1." in asked_texts(engine)[-1]
    assert "I am None." not in asked_texts(engine)[-1]
    assert len(talks) == 2
    hear(client, "claude-code", event("Sub" + "agentStop", agent_id="a1"))
    assert len(talks) == 1
    hear(client, "claude-code", event("UserPromptSubmit", prompt="x", agent_id="a2"))
    hear(client, "claude-code", event("SessionEnd"))
    assert len(talks) == 0


def test_two_calls_that_are_unsafe_only_together(
    client: Client, engine: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked about at the same time: the one that comes second is judged with the first."""

    def check(self: Any, step: Step, **options: Any) -> Any:
        seen = together.wait(5) if len(waited) < 2 else None
        waited.append(seen)
        return plain(self, step, **options)

    from stepguard.session import Session

    together, waited, plain = threading.Barrier(2), list[Any](), Session.check
    monkeypatch.setattr(Session, "check", check)
    answers = []

    def margin(*_: object) -> float:
        (text,) = asked_texts(engine)[-1:]
        return 2.0 if "read secret" in text and "send mail" in text else -2.0

    monkeypatch.setattr("stepguard.taxonomy.LabelRows.margin", margin)

    def ask(call: str, command: str) -> None:
        answers.append(hear(client, "codex", tool("PreToolUse", call, {"command": command})))

    commands = [("c1", "read secret"), ("c2", "send mail")]
    threads = [threading.Thread(target=ask, args=one) for one in commands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(bool(answer.body) for answer in answers) == [False, True]


def test_every_call_of_a_crowd_is_in_the_trajectory(
    client: Client, engine: Gate, margins: list[float]
) -> None:
    def ask(number: int) -> None:
        hear(client, "codex", tool("PreToolUse", f"c{number}", {"command": f"run {number}."}))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hear(client, "codex", tool("PreToolUse", "last", {"command": "last"}))
    (text,) = asked_texts(engine)[-1:]
    assert all(text.count(f"run {number}.") == 1 for number in range(12))


def test_a_slow_guard_denies(client: Client, engine: Gate) -> None:
    engine.gate.clear()
    call = tool("PreToolUse", "c1", {"command": "ls"})
    answer = hear(client, "codex", call, Stepguard_Deadline_Ms="60")
    assert b"it could not be judged" in answer.body
    engine.gate.set()


def test_no_thread_is_needed_to_read_a_small_event(
    served: tuple[Client, Server], margins: list[float]
) -> None:
    client, server = served
    assert server._loop is not None
    held, threads = threading.Event(), ThreadPoolExecutor(1)
    server._loop.set_default_executor(threads)
    threads.submit(held.wait, 20)
    client.timeout = 5
    try:
        for host in HOSTS:
            assert hear(client, host, tool("PreToolUse", "c1", {"command": "ls"})).body == b""
    finally:
        held.set()


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({}, "body.hook_event_name"),
        ({"hook_event_name": "PreToolUse"}, "body.session_id"),
        (event("PreToolUse", tool_input={}), "body.tool_name"),
        (event("PreToolUse", tool_name="Bash"), "body.tool_input"),
        (event("PreToolUse", tool_name="", tool_input={}), "body.tool_name"),
        (event("PreToolUse", tool_name="B", tool_input={}, agent_id=7), "body.agent_id"),
        (event("BeforeEverything"), "body.hook_event_name"),
        (event("UserPromptSubmit"), "body.prompt"),
        (event("PostToolUse", tool_name="B", tool_input={}), "body.tool_response"),
    ],
)
def test_malformed_events_are_no_answer(client: Client, value: dict[str, Any], where: str) -> None:
    for host in HOSTS:
        answer = hear(client, host, value)
        assert (answer.status, answer.error["where"]) == (400, where)


def test_events_without_a_step(client: Client) -> None:
    for name in ("SessionStart", "Stop", "Sub" + "agentStop", "Notification", "PreCompact"):
        assert hear(client, "claude-code", event(name)).body == b""


@pytest.mark.parametrize("host", HOSTS)
def test_the_call_of_the_doctor_is_blocked_unread(
    client: Client, engine: Gate, margins: list[float], host: str
) -> None:
    call = tool("PreToolUse", "c1", {"command": f"true {MARK}"})
    read = len(engine.calls)
    told = hear(client, host, call).json["hookSpecificOutput"]
    assert (told["permissionDecision"], told["permissionDecisionReason"]) == ("deny", BLOCKED)
    assert len(engine.calls) == read
    other = tool("PreToolUse", "c2", {"command": f"true {MARK} and more"})
    assert hear(client, host, other).body == b""


def test_answers_are_of_one_exact_form() -> None:
    said = encode("claude-code", "ask", "Look at it.")
    assert json.loads(said)["hookSpecificOutput"]["permissionDecision"] == "ask"
    assert b'"deny"' in encode("codex", "ask", "Look at it.")
    assert encode("codex", "none", "") == b""
    for odd in ('a "quote"', "a\\b", "line\nbreak", "\u00e9", "x" * 1000):
        told = json.loads(encode("codex", "deny", odd))["hookSpecificOutput"]
        assert 0 < len(told["permissionDecisionReason"]) <= 600
        assert not set(told["permissionDecisionReason"]) & set('"\\\n\u00e9')
    with pytest.raises(ValueError, match="some text"):
        encode("codex", "deny", " ")


def test_sessions_are_let_go_of(client: Client, served: tuple[Client, Server]) -> None:
    talks = served[1].app._hook_talks
    for number in range(300):
        talks.get(("codex", "uid:0", str(number), ""))
    assert len(talks) == 256
    talks._idle_s = -1.0
    talks.reap()
    assert len(talks) == 0


def test_a_real_guard(model: Any, tmp_path: Any) -> None:
    from tests.server.serving import on_thread

    with Guard.load(model, threads=1, save_prefix=False) as guard:
        with guard.session(window="window", diagnose=False) as session:
            session.observe(Step.user("Clean up."))
            action = {"name": "Bash", "arguments": {"command": "ls"}}
            verdict = session.check(Step.agent(action=action))
        with on_thread(guard, tmp_path) as (client, _):
            hear(client, "codex", event("UserPromptSubmit", prompt="Clean up."))
            answer = hear(client, "codex", tool("PreToolUse", "c1", {"command": "ls"}))
    assert (answer.body == b"") == verdict.allowed
