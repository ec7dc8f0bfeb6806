"""Calls of a key wait for each other, to the end of their time and of the conversation."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stepguard import Guard, Reason, Status, Step
from stepguard.conversations import Conversations
from tests.front.conversing import fresh, talk
from tests.front.fakes import FakeEngine, FakeTicket


def test_a_deadline_that_passes(conversations: Conversations, engine: FakeEngine) -> None:
    engine.slices = 10**9
    verdict = conversations.moderate("key", talk(3), deadline_ms=30)
    assert verdict.reason is Reason.DEADLINE
    engine.slices = 0
    for ticket in engine.tickets:
        ticket.slices = 0
    assert conversations.moderate("key", talk(3)).margin == fresh(talk(3)).joint.margin


def test_the_deadline_holds_on_a_thread_too(
    conversations: Conversations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeTicket, "wait", lambda *_: time.sleep(0.5) or [])

    async def run() -> float:
        started = time.monotonic()
        turn = await conversations.acheck("key", talk(1), deadline_ms=50)
        assert turn.joint.reason is Reason.DEADLINE
        return time.monotonic() - started

    assert asyncio.run(run()) < 0.3


def test_calls_of_one_key_keep_their_order(conversations: Conversations) -> None:
    async def run() -> list[int | None]:
        waiting = [conversations.amoderate("key", Step.user(str(n))) for n in range(30)]
        return [verdict.step for verdict in await asyncio.gather(*waiting)]

    assert asyncio.run(run()) == list(range(30))


def test_many_threads_on_many_keys(guard: Guard) -> None:
    """More keys than are kept."""
    conversations = Conversations(guard, most=5)
    expected = {n: fresh(talk(n % 4 + 1, str(n % 8))).joint.margin for n in range(32)}

    def one(n: int) -> bool:
        verdict = conversations.moderate(str(n % 8), talk(n % 4 + 1, str(n % 8)))
        return verdict.margin == expected[n]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, [*range(32)] * 4))
    assert len(conversations) <= 5


def test_what_is_let_go_of_keeps_no_states(guard: Guard) -> None:
    conversations = Conversations(guard, most=2)
    for n in range(6):
        conversations.moderate(str(n), talk(2, str(n)))
    shelves = [shelf for shelf in guard._reader.shelves._shelves if shelf.kept]
    assert len(shelves) == 2
    conversations.close("5")
    assert len([shelf for shelf in guard._reader.shelves._shelves if shelf.kept]) == 1
    conversations.close()
    assert not [shelf for shelf in guard._reader.shelves._shelves if shelf.kept]


def test_after_closing(guard: Guard, conversations: Conversations) -> None:
    conversations.moderate("key", talk(1))
    conversations.close()
    conversations.close()
    assert conversations.moderate("key", talk(1)).reason is Reason.CLOSING
    assert asyncio.run(conversations.amoderate("key", talk(1))).reason is Reason.CLOSING
    other = Conversations(guard)
    guard.close()
    assert other.moderate("key", talk(1)).reason is Reason.CLOSING


def test_closing_waits_for_a_call(conversations: Conversations, engine: FakeEngine) -> None:
    engine.slices = 3
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(conversations.moderate("key", talk(1))))
    thread.start()
    while len(conversations) == 0:
        time.sleep(0.001)
    conversations.close()
    thread.join(10)
    assert seen[0].status in (Status.SAFE, Status.UNSAFE) or seen[0].reason is Reason.CLOSING


def test_wrong_arguments(guard: Guard) -> None:
    for options in ({"most": 0}, {"window": "none"}, {"threads": True}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Conversations(guard, **options)
    with pytest.raises(TypeError, match="key"):
        Conversations(guard).moderate(3, talk(1))  # type: ignore[arg-type]
