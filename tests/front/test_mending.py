"""A message that cannot be read is decided as malformed once, and then read as text."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from stepguard import Guard, Reason
from stepguard.gate import Gate
from stepguard.mending import Mending
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
    assert mending.mended({"messages": [ODD]}, learn=True) is None
    assert mending.mended(None, learn=True) is None


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
