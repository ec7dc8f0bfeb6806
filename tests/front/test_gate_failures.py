"""Whatever goes wrong in a gate or before it, the call is blocked, and only that one."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

import pytest

from stepguard import Guard, Reason
from stepguard.gate import Gate
from stepguard.policy import Outcome, Policy, Settings
from tests.front.conversing import call, talk, user
from tests.front.gated import outcomes


def test_a_crash_is_blocked_and_logged(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr("stepguard.conversations.kept.Kept.judge", broken)
    with Gate(guard) as gate, caplog.at_level(logging.ERROR, "stepguard"):
        found = gate.check("key", [user("x")], [call("a", 1), call("b", 2)])
    assert [(d.outcome, d.reason, d.call_id) for d in found] == [
        (Outcome.BLOCK, Reason.INTERNAL, "call-1"),
        (Outcome.BLOCK, Reason.INTERNAL, "call-2"),
    ]
    assert all("planted" not in decision.text for decision in found)
    assert "planted" in caplog.text


def test_a_policy_that_crashes_blocks(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(Policy, "decide", broken)
    with Gate(guard) as gate:
        (decision,) = gate.check("key", talk(1))
    assert (decision.outcome, decision.rule) == (Outcome.BLOCK, "failure")


@pytest.mark.parametrize(
    ("messages", "calls"),
    [
        ([{"odd": 1}], None),
        ([user("x")], [{"nameless": 1}]),
        ([user("x")], "rm"),
        (None, None),
        ([{"role": "user", "content": object()}], None),
    ],
)
def test_malformed_input_is_blocked(guard: Guard, messages: Any, calls: Any) -> None:
    with Gate(guard) as gate:
        found = gate.check("key", messages, calls)
        assert [(d.outcome, d.reason) for d in found] == [(Outcome.BLOCK, Reason.MALFORMED)]
        assert gate.check("key", talk(1))[0].reason is None, "and that is over with it"


def test_the_policy_says_what_failing_means(guard: Guard) -> None:
    reasons = {Reason.MALFORMED: Outcome.ASK}
    with Gate(guard, Policy(default=Settings(reasons=reasons))) as gate:
        assert outcomes(gate.check("key", [{"odd": 1}])) == ["ask"]


def test_wrong_keys_and_deadlines_are_blocked(guard: Guard) -> None:
    with Gate(guard) as gate:
        assert outcomes(gate.check(3, talk(1))) == ["block"]  # type: ignore[arg-type]
        assert outcomes(gate.check("key", talk(1), deadline_ms=-1)) == ["block"]
        assert outcomes(asyncio.run(gate.acheck("key", talk(1), deadline_ms=-1))) == ["block"]


def test_after_closing(guard: Guard) -> None:
    gate = Gate(guard)
    gate.close()
    assert outcomes(gate.check("key", talk(1))) == ["block"]
    assert outcomes(asyncio.run(gate.acheck("key", talk(1)))) == ["block"]
    gate.observe("key", talk(1))


def test_a_forked_child_blocks(guard: Guard) -> None:
    gate = Gate(guard)
    gate.check("key", talk(1))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if outcomes(gate.check("key", talk(1))) == ["block"] else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    gate.close()


def test_a_path_is_no_policy(guard: Guard) -> None:
    with pytest.raises(TypeError, match="read_policy"):
        Gate(guard, "policy.toml")  # type: ignore[arg-type]
