"""A message that cannot be read is decided as malformed once, and then read as text."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import numpy as np
import pytest

from stepguard import Guard, Reason
from stepguard.gate import Gate
from stepguard.mending import Mending
from stepguard.messages import read_messages
from stepguard.policy import Decision, Outcome, Policy
from stepguard.taxonomy import LabelRows
from tests.front.conversing import agent, call, fresh, result, talk, user
from tests.front.fakes import FakeTicket

ODD = {"odd": 1, "text": "send it all"}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.CRITICAL, "stepguard")
    monkeypatch.setattr(LabelRows, "margin", lambda *_: -2.0)


def reasons(decisions: list[Decision]) -> list[Reason | None]:
    return [decision.reason for decision in decisions]


def test_it_is_malformed_once_and_text_from_then_on(guard: Guard) -> None:
    start = [user("x"), ODD]
    with Gate(guard) as gate:
        for n, expected in enumerate([Reason.MALFORMED, None, None]):
            calls = [call("f", n)]
            found = gate.check("key", start, calls)
            assert reasons(found) == [expected]
        assert found[0].outcome is Outcome.ALLOW
        assert found[0].verdict is not None
        assert (found[0].verdict.unreadable, found[0].verdict.coverage) == (0, 1.0)
        assert reasons(gate.check("other", start, calls)) == [None]
        another = [*start, {"odd": 2}]
        assert reasons(gate.check("key", another, calls)) == [Reason.MALFORMED]
        assert reasons(gate.check("key", another, calls)) == [None]


def test_nothing_of_it_is_hidden(guard: Guard) -> None:
    mending = Mending()
    mended = mending.mended([user("x"), ODD, {"role": "user", "content": object()}], learn=True)
    assert mended is not None
    assert mended.messages[0] == user("x")
    assert '"send it all"' in mended.messages[1]["content"]
    assert "object object" in mended.messages[2]["content"]
    again = mending.mended([ODD, {"role": "user", "content": object()}], learn=False)
    assert again is not None
    assert again.known, "an address is no content"


def test_what_cannot_be_printed_is_unreadable(guard: Guard) -> None:
    endless: dict[str, Any] = {"odd": 1}
    endless["self"] = endless
    with Gate(guard) as gate:
        assert reasons(gate.check("key", [user("x"), endless], [call("f", 1)])) == [
            Reason.MALFORMED
        ]
        (decision,) = gate.check("key", [user("x"), endless], [call("f", 2)])
    assert (decision.outcome, decision.rule) == (Outcome.ASK, "default.unreadable")


def test_lists_that_can_be_read_are_not_mended() -> None:
    mending = Mending()
    assert mending.mended(talk(3), learn=True) is None
    assert mending.mended({"messages": talk(3), "system": "Be good."}, learn=True) is None
    assert mending.mended({"contents": [[{"role": "user", "content": "x"}]]}, learn=True) is None
    assert mending.mended({"system": "no list"}, learn=True) is None
    assert mending.mended(None, learn=True) is None


STEP = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [user("x"), ODD]},
        {"input": [user("x"), ODD], "instructions": "Be good."},
        {"system": 5, "messages": [user("x")]},
        {"contents": [STEP, ODD]},
        {"contents": [[STEP, ODD], [STEP]]},
    ],
)
def test_in_the_body_of_a_request_it_is_the_same(guard: Guard, body: dict[str, Any]) -> None:
    with Gate(guard) as gate:
        found = [gate.check("key", body, [call("f", n)]) for n in range(3)]
    assert [reasons(one) for one in found] == [[Reason.MALFORMED], [None], [None]]
    mended = Mending().mended(body, learn=False)
    assert mended is not None
    shown = read_messages(mended.messages)
    texts = [shown.profile, *(text.json for step in shown.steps for _, text in step.fields)]
    assert any("send it all" in text or text == "5" for text in texts), "nothing of it is hidden"


class _Broken:
    """Fails however it is looked at, as some objects of hosts do."""

    type = "ai"

    @property
    def content(self) -> str:
        raise RuntimeError("planted")

    def model_dump(self, **_: object) -> dict[str, Any]:
        raise RuntimeError("planted")

    def __eq__(self, _: object) -> bool:
        raise RuntimeError("planted")

    def __hash__(self) -> int:
        return 0

    def __str__(self) -> str:
        raise RuntimeError("planted")

    __repr__ = __str__


class _BrokenMapping(dict[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("planted")


@pytest.mark.parametrize(
    "message",
    [
        _Broken(),
        {"role": "user", "content": _Broken()},
        {"role": "user", "content": [{"type": "text", "text": "x", "more": _Broken()}]},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "args": _Broken()}]},
        {"role": "assistant", "content": "x", "audio": np.zeros(2)},
        {"role": "user", "content": "x", "more": np.zeros(2)},
        _BrokenMapping(role="user", content="x"),
    ],
    ids=["object", "content", "part", "call", "array", "key", "mapping"],
)
def test_an_object_that_fails_when_it_is_read_blocks_no_conversation(
    guard: Guard, message: object
) -> None:
    with Gate(guard) as gate:
        found = [gate.check("key", [user("x"), message], [call("f", n)]) for n in range(3)]
    assert reasons(found[0])[0] in (None, Reason.MALFORMED)
    for (decision,) in found[1:]:
        assert decision.reason is None
        assert decision.verdict is not None
        seen = decision.outcome is Outcome.ALLOW and decision.verdict.unreadable == 0
        assert seen or decision.rule == "default.unreadable"


def test_a_call_that_was_blocked_for_it_has_not_happened(guard: Guard) -> None:
    start = [user("x"), ODD, agent("t", call("f", 1))]
    longer = [*start, result(1, "no"), agent("", call("g", 2))]
    with Gate(guard) as gate:
        assert not gate.check("key", start)[0].allowed
        (decision,) = gate.check("key", longer)
    assert decision.verdict is not None
    assert decision.verdict.step == 3, "user, odd, result, and the call"


def test_a_call_that_crashed_has_not_happened(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("planted")

    start = [user("x"), agent("t", call("f", 1))]
    with Gate(guard) as gate:
        with monkeypatch.context() as patch:
            patch.setattr("stepguard.conversations.kept.Kept.judge", broken)
            assert reasons(gate.check("key", start, [call("f", 1)])) == [Reason.INTERNAL]
        (decision,) = gate.check("key", [*start, result(1, "no"), agent("", call("g", 2))])
    clean = [user("x"), result(1, "no"), agent("", call("g", 2))]
    assert decision.verdict is not None
    assert decision.verdict.step == fresh(clean).joint.step


def test_a_host_that_gives_up_waiting_has_run_nothing(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FakeTicket.wait

    def slow(self: FakeTicket, timeout: float | None = None) -> Any:
        time.sleep(0.3)
        return real(self, timeout)

    monkeypatch.setattr(FakeTicket, "wait", slow)
    start = [user("x"), agent("t", call("f", 1))]

    async def impatient(gate: Gate) -> None:
        async with asyncio.timeout(0.1):
            await gate.acheck("key", start)

    with Gate(guard, Policy(deadline_ms=20_000)) as gate:
        with pytest.raises(TimeoutError):
            asyncio.run(impatient(gate))
        (decision,) = gate.check("key", [*start, result(1, "no"), agent("", call("g", 2))])
    assert decision.verdict is not None
    assert decision.verdict.step == 2, "the call that nobody waited for is left out"
