"""Whoever else is slow, a host gets a decision in time, in the order in which it asked."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from stepguard import Guard, Reason, Step
from stepguard.call import Call
from stepguard.conversations.kept import Kept
from stepguard.deciding import Decider
from stepguard.gate import Gate
from stepguard.policy import Outcome, Policy
from stepguard.reading import Reading
from stepguard.taxonomy import LabelRows
from stepguard.track import Track
from tests.front.conversing import agent, call, fresh, result, talk, user
from tests.front.gated import Plan, answer_slowly, outcomes
from tests.front.holds import MOST_S, Holds


def test_a_slow_guard_is_late_in_time_and_what_was_blocked_is_forgotten(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = [user("x"), agent("t", call("f", 1))]
    with Gate(guard) as gate:
        with monkeypatch.context() as patch:
            answer_slowly(patch, 0.6)
            started = time.monotonic()
            (decision,) = gate.check("key", start, deadline_ms=100)
            assert time.monotonic() - started < 0.4
            assert (decision.outcome, decision.reason) == (Outcome.BLOCK, Reason.DEADLINE)
            time.sleep(1.5)
        longer = [*start, result(1, decision.text), agent("", call("g", 2))]
        (after,) = gate.check("key", longer)
    clean = [user("x"), *longer[2:]]
    assert after.verdict is not None
    assert after.verdict.margin == fresh(clean).joint.margin


def test_who_waits_for_another_call_too_long_is_late(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gate(guard, Policy(deadline_ms=20_000)) as gate:
        gate.check("key", talk(1))
        answer_slowly(monkeypatch, 0.5)
        first = threading.Thread(target=gate.check, args=("key", talk(2)))
        first.start()
        time.sleep(0.1)
        (decision,) = gate.check("key", talk(3), deadline_ms=150)
        first.join(20)
    assert (decision.outcome, decision.reason) == (Outcome.BLOCK, Reason.DEADLINE)


def test_what_is_forgotten_waits_for_no_other_call(
    guard: Guard, answering: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is there, and others of its key are still under way."""
    answering("rm")
    real, behind, begun = Kept.judge, threading.Event(), threading.Event()

    def judge(self: Kept, *args: Any) -> Any:
        if not begun.is_set():
            begun.set()
            behind.wait(20)
        else:
            time.sleep(2)
        return real(self, *args)

    monkeypatch.setattr(Kept, "judge", judge)
    messages = [user("x"), agent("t", call("rm", 1), call("rm", 2))]
    one, two = messages[1]["tool_calls"]
    with Gate(guard) as gate, ThreadPoolExecutor() as pool:
        first = pool.submit(gate.check, "key", messages, [one], deadline_ms=10_000)
        begun.wait(20)
        second = pool.submit(gate.check, "key", messages, [two], deadline_ms=20_000)
        slot = gate.conversations._slots._slots["key"]
        while len(slot.line) < 2:
            time.sleep(0.001)
        behind.set()
        assert outcomes(first.result(1)) == ["block"]
        assert outcomes(second.result()) == ["block"]


@pytest.mark.parametrize("late", [False, True])
def test_a_question_that_was_never_read_forgets_nothing_else(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    monkeypatch.setattr(LabelRows, "margin", lambda *_: -2.0)
    messages = [user("x"), agent("t", call("f", 1)), result(1, "ran"), agent("t", call("g", 2))]
    real, hold = Kept.judge, threading.Event()

    def judge(self: Kept, *args: Any) -> Any:
        hold.wait(20)
        return real(self, *args)

    async def impatient(gate: Gate) -> None:
        async with asyncio.timeout(0.1):
            await gate.acheck("key", messages)

    with Gate(guard, Policy(deadline_ms=20_000), threads=1) as gate, ThreadPoolExecutor() as pool:
        gate.check("key", messages[:2])
        with monkeypatch.context() as patch:
            patch.setattr(Kept, "judge", judge)
            other = pool.submit(gate.check, "other", talk(1))
            while len(gate.conversations) < 2:
                time.sleep(0.001)
            if late:
                (decision,) = gate.check("key", messages, deadline_ms=100)
                assert decision.reason is Reason.DEADLINE
            else:
                with pytest.raises(TimeoutError):
                    asyncio.run(impatient(gate))
            time.sleep(0.2)
            hold.set()
            other.result()
        longer = [*messages, result(2, "no"), agent("", call("h", 3))]
        (after,) = gate.check("key", longer)
    assert after.verdict is not None
    without = [*messages[:3], *longer[4:]]
    assert after.verdict.step == fresh(without).joint.step, "what was asked about, and that alone"


def test_a_host_that_gives_up_leaves_the_key_to_others(guard: Guard) -> None:
    """Its future is cancelled before a thread has taken it up."""

    async def begin(gate: Gate) -> None:
        asked = [asyncio.create_task(gate.acheck("key", talk(n))) for n in range(1, 9)]
        await asyncio.sleep(0)
        for one in asked:
            one.cancel()

    with Gate(guard, Policy(deadline_ms=20_000), threads=1) as gate:
        asyncio.run(begin(gate))
        (decision,) = gate.check("key", talk(9))
        assert decision.reason is None


def test_steps_are_read_in_the_order_in_which_they_came(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [Step.user("x"), Step.environment("one"), Step.environment("two")]
    last = Step.agent("", "act()")
    real = Decider.observe

    def slow(self: Decider, *args: Any) -> None:
        if any(one is steps[0] for one in args):
            time.sleep(0.3)
        real(self, *args)

    monkeypatch.setattr(Decider, "observe", slow)
    with Gate(guard) as gate:
        for step in steps:
            gate.observe("key", step)
        (decision,) = gate.check("key", last)
    assert decision.verdict is not None
    assert decision.verdict.margin == fresh([*steps, last]).joint.margin  # type: ignore[list-item]


def test_reading_ahead_keeps_no_decision_waiting(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those of other keys, and not those behind something that was not begun yet."""
    real, hold = Reading.observe, threading.Event()

    def slow(self: Reading, track: Track, call: Call) -> None:
        if call.until is None:
            hold.wait(20)
        real(self, track, call)

    monkeypatch.setattr(Reading, "observe", slow)
    with Gate(guard, Policy(deadline_ms=5_000), threads=4) as gate:
        for n in range(16):
            gate.observe(f"key {n}", talk(1, f"{n}")[:-1])
        found = gate.check("other", talk(1))
        hold_later = threading.Timer(1, hold.set)
        hold_later.start()
        found += gate.check("key 15", talk(1, "15"))
        hold_later.join()
    assert [decision.reason for decision in found] == [None, None]


def test_the_event_loop_goes_on(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never held for more than 20 ms, however long the lists."""
    monkeypatch.setattr(
        "tests.front.fakes.hash_logits", lambda _, rows: np.zeros(len(rows), np.float32)
    )

    async def ask(gate: Gate, holds: Holds) -> None:
        watch = asyncio.create_task(holds.watch())
        asked = (gate.acheck(f"{n}", talk(40, f"{n}")) for n in range(4))
        found = await asyncio.gather(*asked)
        watch.cancel()
        assert all(decisions[0].reason is None for decisions in found)

    with Holds() as holds, Gate(guard, Policy(deadline_ms=60_000)) as gate:
        asyncio.run(ask(gate, holds))
    assert "the loop" in holds.found
    assert holds.longest < (MOST_S, "")
