"""The async twins of the calls of conversations: each is done on a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Protocol, TypeVar

from stepguard.call import Call
from stepguard.conversations.question import Question
from stepguard.conversations.turns import same_for_all, worst
from stepguard.taxonomy import Reason, Turn, Verdict

_T = TypeVar("_T")

_LATE = "not done in time"


class _Calls(Protocol):
    """The calls of conversations. Deadlines count from `Call.begin`, not from a free thread."""

    @property
    def _pool(self) -> Executor: ...

    def _check(self, question: Question, messages: object, call: Call) -> Turn: ...
    def _observe(self, question: Question, messages: object, call: Call) -> None: ...
    def _decide(self, question: Question, ran: bool) -> None: ...
    def enter(self, key: str, calls: object = None, tools: object = None) -> Question: ...
    def start(
        self, question: Question, job: Callable[[], _T], pool: Callable[[], Executor]
    ) -> Future[_T]: ...
    def unavailable(self, reason: Reason, message: str, call: Call | None = None) -> Verdict: ...


class Twins:
    """For conversations to inherit."""

    async def amoderate(
        self: _Calls,
        key: str,
        messages: object,
        *,
        tools: object = None,
        deadline_ms: float | None = None,
    ) -> Verdict:
        """`moderate` on a thread. The answer is there in time, whatever the thread does."""
        return worst(await _check(self, key, messages, None, tools, deadline_ms))

    async def acheck(
        self: _Calls,
        key: str,
        messages: object,
        calls: object = None,
        *,
        tools: object = None,
        deadline_ms: float | None = None,
    ) -> Turn:
        """`check` on a thread. The answer is there in time, whatever the thread does."""
        return await _check(self, key, messages, calls, tools, deadline_ms)

    async def aobserve(
        self: _Calls,
        key: str,
        messages: object,
        *,
        tools: object = None,
        deadline_ms: float | None = None,
    ) -> None:
        """`observe` on a thread."""
        call = Call.begin(deadline_ms)
        question = self.enter(key, tools=tools)
        await _on_thread(
            self, question, call, lambda: self._observe(question, messages, call), lambda: None
        )

    async def adecide(self: _Calls, key: str, calls: object = None, *, ran: bool) -> None:
        """`decide` on a thread."""
        question = self.enter(key, calls)
        await _on_thread(
            self, question, Call.begin(), lambda: self._decide(question, ran), lambda: None
        )


async def _check(
    own: _Calls,
    key: str,
    messages: object,
    calls: object,
    tools: object,
    deadline_ms: float | None,
) -> Turn:
    call = Call.begin(deadline_ms)
    question = own.enter(key, calls, tools)
    return await _on_thread(
        own,
        question,
        call,
        lambda: own._check(question, messages, call),
        lambda: same_for_all(own.unavailable(Reason.DEADLINE, _LATE, call), calls),
    )


async def _on_thread(
    own: _Calls, question: Question, call: Call, job: Callable[[], _T], late: Callable[[], _T]
) -> _T:
    waiting = asyncio.wrap_future(own.start(question, job, lambda: own._pool))
    done, _ = await asyncio.wait([waiting], timeout=None if call.until is None else call.left)
    if done:
        return waiting.result()
    waiting.add_done_callback(_seen)
    return late()


def _seen(future: asyncio.Future[_T]) -> None:
    """Nobody waits for it any more; what it raised is not lost silently."""
    if not future.cancelled():
        future.exception()
