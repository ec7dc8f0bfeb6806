"""No call runs whose decision was not recorded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from stepguard.call import Call
from stepguard.guard import Guard
from stepguard.policy import Decision, Outcome
from stepguard.policy.decision import Cause, blocked

_log = logging.getLogger("stepguard")

# A record may take what is left of a call's time, and at least so long: a disk that hangs must not
# hang the host.
_LEAST_S = 0.5

# Takes the key and the decision, and raises where it could not be recorded.
Record = Callable[[str, Decision], None]
# Takes which of the decisions could not be recorded.
Unrecorded = Callable[[Sequence[bool]], None]


class Recording:
    """Records what a gate decides, one decision after the other, before its host hears of it.

    What could not be recorded, or not in time, is blocked by the rule `record`.
    """

    def __init__(self, guard: Guard, record: Record) -> None:
        self._guard, self._record = guard, record
        self._thread = ThreadPoolExecutor(1, "stepguard-record")

    def done(
        self, key: str, found: list[Decision], call: Call | None, unrecorded: Unrecorded
    ) -> list[Decision]:
        """The decisions, as they were recorded. unrecorded: is told which calls do not run for want
        of a record, before the host is."""
        future = self._begin(key, found)
        if future is not None:
            wait([future], _seconds(call))
        return _answer(future, found, unrecorded)

    async def adone(
        self, key: str, found: list[Decision], call: Call | None, unrecorded: Unrecorded
    ) -> list[Decision]:
        """`done`; the event loop goes on meanwhile."""
        future = self._begin(key, found)
        if future is not None:
            await asyncio.wait([asyncio.wrap_future(future)], timeout=_seconds(call))
        return _answer(future, found, unrecorded)

    def close(self) -> None:
        """Takes no more; what was begun is recorded."""
        self._thread.shutdown(wait=False)

    def _begin(self, key: str, found: list[Decision]) -> Future[list[Decision]] | None:
        try:
            self._guard.check_process()  # a fork has no thread: nothing would ever be written
            return self._thread.submit(self._write, key, found)
        except Exception:
            _log.exception("a decision could not be recorded")
            return None

    def _write(self, key: str, found: list[Decision]) -> list[Decision]:
        answer = []
        for decision in found:
            try:
                self._record(key, decision)
                answer.append(decision)
            except Exception:
                _log.exception("a decision could not be recorded")
                answer.append(without_record(decision))
        return answer


def may_run(decision: Decision) -> bool:
    """Whether the call may run after all."""
    return decision.outcome in (Outcome.ALLOW, Outcome.ASK)


def without_record(decision: Decision) -> Decision:
    """What becomes of a decision that could not be recorded: what was blocked stays so."""
    return blocked(decision, "record", Cause.RECORD) if may_run(decision) else decision


def _seconds(call: Call | None) -> float | None:
    if call is None:
        return _LEAST_S
    return None if call.until is None else max(call.left, _LEAST_S)


def _answer(
    future: Future[list[Decision]] | None, found: list[Decision], unrecorded: Unrecorded
) -> list[Decision]:
    answer = _recorded(future)
    if answer is None:
        answer = [without_record(decision) for decision in found]
    pairs = zip(found, answer, strict=True)
    failed = [may_run(decision) and not may_run(now) for decision, now in pairs]
    if any(failed):
        unrecorded(failed)
    return answer


def _recorded(future: Future[list[Decision]] | None) -> list[Decision] | None:
    if future is None:
        return None
    future.cancel()  # what has not begun by now is not recorded any more
    if future.done() and not future.cancelled():
        return future.result()
    _log.error("a decision was not recorded in time")
    return None
