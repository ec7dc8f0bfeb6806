"""The async twins of a session's calls: each runs its call on a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from stepguard.call import Call
from stepguard.prompt import Step
from stepguard.taxonomy import Diagnosis, Turn, Verdict

if TYPE_CHECKING:
    from stepguard.session import Session

_T = TypeVar("_T")


class _Calls(Protocol):
    """The calls of a session. Deadlines count from `Call.begin`, not from a thread that is free."""

    def _observe(self, step: Step, call: Call) -> None: ...
    def _check(self, step: Step, call: Call) -> Verdict: ...
    def _check_turn(self, thought: object, actions: Sequence[object], call: Call) -> Turn: ...
    def _push(self, step: Step, call: Call) -> Verdict: ...
    def _follow(self, step: Step, call: Call) -> Verdict | None: ...
    def _peek(self, partial: Step, call: Call) -> Verdict: ...
    def _judge(self, call: Call) -> Verdict: ...
    def _diagnose(self, top: int, call: Call) -> Diagnosis: ...
    def commit(self, verdict: Verdict) -> None: ...
    def reject(self, verdict: Verdict, note: str | None = None) -> None: ...
    def fork(self) -> Session: ...
    def close(self) -> None: ...


class Twins:
    """For a session to inherit."""

    async def aobserve(self: _Calls, step: Step, *, deadline_ms: float | None = None) -> None:
        """`observe` on a thread. Cancelling the wait does not undo the step."""
        await _on_thread(self._observe, step, Call.begin(deadline_ms))

    async def acheck(self: _Calls, step: Step, *, deadline_ms: float | None = None) -> Verdict:
        """`check` on a thread."""
        return await _on_thread(self._check, step, Call.begin(deadline_ms))

    async def acheck_turn(
        self: _Calls,
        thought: object,
        actions: Sequence[object],
        *,
        deadline_ms: float | None = None,
    ) -> Turn:
        """`check_turn` on a thread."""
        call = Call.begin(deadline_ms)
        return await _on_thread(self._check_turn, thought, actions, call)

    async def acommit(self: _Calls, verdict: Verdict) -> None:
        """`commit` on a thread: it waits for a call of another thread."""
        await _on_thread(self.commit, verdict)

    async def areject(self: _Calls, verdict: Verdict, note: str | None = None) -> None:
        """`reject` on a thread."""
        await _on_thread(self.reject, verdict, note)

    async def apush(self: _Calls, step: Step, *, deadline_ms: float | None = None) -> Verdict:
        """`push` on a thread. Cancelling the wait does not undo the step."""
        return await _on_thread(self._push, step, Call.begin(deadline_ms))

    async def afollow(
        self: _Calls, step: Step, *, deadline_ms: float | None = None
    ) -> Verdict | None:
        """`follow` on a thread. Cancelling the wait does not undo the step."""
        return await _on_thread(self._follow, step, Call.begin(deadline_ms))

    async def apeek(self: _Calls, partial: Step, *, deadline_ms: float | None = None) -> Verdict:
        """`peek` on a thread."""
        return await _on_thread(self._peek, partial, Call.begin(deadline_ms))

    async def ajudge(self: _Calls, *, deadline_ms: float | None = None) -> Verdict:
        """`judge` on a thread."""
        return await _on_thread(self._judge, Call.begin(deadline_ms))

    async def adiagnose(
        self: _Calls, *, deadline_ms: float | None = None, top: int = 1
    ) -> Diagnosis:
        """`diagnose` on a thread."""
        return await _on_thread(self._diagnose, top, Call.begin(deadline_ms))

    async def afork(self: _Calls) -> Session:
        """`fork` on a thread."""
        return await _on_thread(self.fork)

    async def aclose(self: _Calls) -> None:
        """`close` on a thread."""
        await _on_thread(self.close)


async def _on_thread(call: Callable[..., _T], *arguments: object) -> _T:
    """Runs a call on a thread, to its end even where nobody waits for it any more.

    A cancelled `to_thread` that still waits for a free thread would never run, and lose its step.
    """
    return await asyncio.shield(asyncio.ensure_future(asyncio.to_thread(call, *arguments)))
