"""The gate in front of an agent's tools: conversations and a policy in one object.

An adapter of a host is a function from `Decision` to what that host wants to hear.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Literal

from stepguard.call import Call
from stepguard.conversations import Conversations, Question
from stepguard.deciding import Decider, Hurry
from stepguard.guard import Guard
from stepguard.policy import Decision, Policy
from stepguard.recording import Record, Recording

__all__ = ["Gate", "Record"]

_log = logging.getLogger("stepguard")

_OBSERVING = 4  # threads that read ahead: those that decide are not kept from it


class Gate:
    """Decides about an agent's actions before they run. Threads and event loops may share it.

    Nothing is raised for what happens while it decides: a crash, a late answer and messages of
    unknown shapes are decided like an `unavailable` verdict (`internal`, `deadline`, `malformed`),
    by the policy, and are logged. What it blocks is left out of the conversation from then on.
    """

    def __init__(
        self,
        guard: Guard,
        policy: Policy | None = None,
        *,
        window: Literal["strict", "window"] = "window",
        most: int = 256,
        threads: int = 16,
        record: Record | None = None,
    ) -> None:
        """policy: None lets only run what is safe. window, most: as in `Conversations`. threads:
        decisions at once. record: is told of every decision before the host is, those that allow
        included; where it raises or takes too long, the call is blocked by the rule `record`.

        Raises TypeError: the policy is something else, like the path of one; and what
        `Conversations` raises."""
        if policy is not None and not isinstance(policy, Policy):
            got = type(policy).__name__
            raise TypeError(f"policy: expected what read_policy returns, got {got}")
        self.policy = policy or Policy()
        self.conversations = Conversations(guard, window=window, most=most, threads=threads)
        self._pool = ThreadPoolExecutor(threads, "stepguard-gate")
        self._observing = ThreadPoolExecutor(min(threads, _OBSERVING), "stepguard-observe")
        steps = record is not None
        self._decider = Decider(self.conversations, self.policy, steps=steps)
        self._recording = None if record is None else Recording(guard, record)

    def check(
        self,
        key: str,
        messages: object,
        calls: object = None,
        *,
        tools: object = None,
        deadline_ms: float | None = None,
    ) -> list[Decision]:
        """A decision for each call that the host is about to run.

        Args:
            key: names the conversation; any string.
            messages: all of it, in any shape that `read_messages` knows; or one `Step` more.
            calls: the calls, in the host's shape; they may stand in `messages` too. None decides
                about those at the end of the list, or, where it ends in something else, about the
                whole: one decision.
            tools: the agent's tools; None takes those of the key's last call.
            deadline_ms: when the answer has to be there; None takes the policy's.
        """
        question, call, hurry = None, None, Hurry()
        try:
            call = self._begin(deadline_ms)
            question = self.conversations.enter(key, calls, tools)
            future = self._decide(question, messages, call, hurry)
            wait([future], None if call.until is None else call.left)
            gave_up = hurry.give_up()
            found = self._decider.late(question) if gave_up else future.result()
        except Exception as error:
            found = self._decider.failed(question, calls, error)
        if self._recording is None:
            return found
        forget = partial(self._decider.forget, question)
        return self._recording.done(key, _timed(found, call), call, forget)

    async def acheck(
        self,
        key: str,
        messages: object,
        calls: object = None,
        *,
        tools: object = None,
        deadline_ms: float | None = None,
    ) -> list[Decision]:
        """`check` on a thread: the event loop goes on meanwhile."""
        question, call, hurry = None, None, Hurry()
        try:
            try:
                call = self._begin(deadline_ms)
                question = self.conversations.enter(key, calls, tools)
                waiting = asyncio.wrap_future(self._decide(question, messages, call, hurry))
                await asyncio.wait([waiting], timeout=None if call.until is None else call.left)
                gave_up = hurry.give_up()
                found = self._decider.late(question) if gave_up else await waiting
            except Exception as error:
                found = self._decider.failed(question, calls, error)
            if self._recording is None:
                return found
            forget = partial(self._decider.forget, question)
            return await self._recording.adone(key, _timed(found, call), call, forget)
        except asyncio.CancelledError:  # the host waits no longer: nothing of it runs
            hurry.give_up()
            self._decider.forget(question, [True])
            raise

    def _decide(
        self, question: Question, messages: object, call: Call, hurry: Hurry
    ) -> Future[list[Decision]]:
        job = partial(self._decider.decide, question, messages, call, hurry)
        return self.conversations.start(question, job, lambda: self._pool)

    def observe(self, key: str, messages: object, *, tools: object = None) -> None:
        """Reads what is new in the background, so that the next decision is there sooner.

        Returns at once. What goes wrong is logged, and comes up again in the next decision.
        """
        try:
            question = self.conversations.enter(key, tools=tools)
            job = partial(self._decider.observe, question, messages)
            # Who waits behind it must not wait for other conversations.
            self.conversations.start(
                question, job, lambda: self._pool if question.holds_up else self._observing
            )
        except Exception:
            _log.exception("a conversation could not be observed")

    def decided(self, key: str, calls: object = None, *, ran: bool) -> None:
        """Says what became of calls that were not decided by the gate alone: `ask`, or a block that
        the host overruled. None means all calls of the turn that was decided last.

        Raises TrajectoryError where the turn has no such call.
        """
        self.conversations.decide(key, calls, ran=ran)

    async def adecided(self, key: str, calls: object = None, *, ran: bool) -> None:
        """`decided` on a thread."""
        await self.conversations.adecide(key, calls, ran=ran)

    def close(self, key: str | None = None) -> None:
        """Lets go of one conversation, or of all, and of the threads. The guard stays open."""
        self.conversations.close(key)
        if key is None:
            self._pool.shutdown(wait=False)
            self._observing.shutdown(wait=False)
            if self._recording is not None:
                self._recording.close()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, deadline_ms: float | None) -> Call:
        # A fork has none of the threads: nothing handed to them would ever be answered.
        self.conversations.guard.check_process()
        return Call.begin(self.policy.deadline_ms if deadline_ms is None else deadline_ms)


def _timed(found: list[Decision], call: Call | None) -> list[Decision]:
    passed = 0.0 if call is None else call.passed_ms
    return [dataclasses.replace(decision, passed_ms=passed) for decision in found]
