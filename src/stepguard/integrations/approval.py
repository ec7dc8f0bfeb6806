"""What becomes of `ask` and `raise` in hosts that have no word of their own for them."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from stepguard.errors import RunStopped, StepguardError
from stepguard.gate import Gate
from stepguard.policy import Decision, Outcome

_log = logging.getLogger("stepguard")

# Asks a person; only True lets the call run. What it raises goes to the host.
Approve = Callable[[Decision], bool | Awaitable[bool]]


def may_run(gate: Gate, key: str, call: Any, decision: Decision, approve: Approve | None) -> bool:
    """Whether a call runs; where a person was asked, the gate is told what became of it.

    Raises RunStopped for `raise`, and what `approve` raises.
    """
    if not _asks(decision):
        return decision.allowed
    yes = False
    try:
        answer = approve(decision) if approve else False
        if inspect.isawaitable(answer):
            _close(answer)
            raise TypeError("approve: expected a function that is not async, in a run that is not")
        yes = answer is True
    finally:
        _tell(lambda: gate.decided(key, [call], ran=yes))
    return yes


async def amay_run(
    gate: Gate, key: str, call: Any, decision: Decision, approve: Approve | None
) -> bool:
    """The same on an event loop, which a function `approve` that is not async would hold."""
    if not _asks(decision):
        return decision.allowed
    yes = False
    try:
        answer = approve(decision) if approve else False
        yes = (await answer if inspect.isawaitable(answer) else answer) is True
    finally:
        try:
            await gate.adecided(key, [call], ran=yes)
        except StepguardError as error:
            _log.debug("a decision about a call is not known", exc_info=error)
    return yes


def _asks(decision: Decision) -> bool:
    if decision.outcome is Outcome.RAISE:
        raise RunStopped("the policy", got=decision.text)
    return decision.outcome is Outcome.ASK


def _tell(tell: Callable[[], None]) -> None:
    try:
        tell()
    except StepguardError as error:  # nothing was judged, so there is nothing to leave out
        _log.debug("a decision about a call is not known", exc_info=error)


def _close(answer: Any) -> None:
    """A coroutine that is never awaited would complain."""
    if inspect.iscoroutine(answer):
        answer.close()
