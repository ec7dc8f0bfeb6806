"""What a gate, a server and its hooks decide, as lines of a log."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any
from weakref import WeakSet

from stepguard.audit.entry import Outcome, Plain
from stepguard.audit.log import AuditLog
from stepguard.errors import AuditError
from stepguard.policy import Decision
from stepguard.prompt import Step
from stepguard.taxonomy import Verdict

_log = logging.getLogger("stepguard")

_MOST_NAME = 256  # characters of a tool's name and of a call's id


class Recorder:
    """`Gate(guard, policy, record=Recorder(log))`: a line for every decision.

    Any number of threads may use it; the log stays the caller's. Diagnoses and second verdicts that
    are not there yet get a line of their own when they are.
    """

    def __init__(self, log: AuditLog, failed: Callable[[Exception], object] | None = None) -> None:
        """failed: is told why such a later line could not be written; None puts it into the log of
        the program."""
        self._log, self._failed = log, failed or _report
        self._waiting: WeakSet[Future[Any]] = WeakSet()
        self._left = 0
        self._lock = threading.Condition()

    def __call__(self, key: str, decision: Decision) -> None:
        """Records a decision of a gate, with the tool's name and the call's id, both cut off at 256
        characters. Raises AuditError where it could not be written."""
        if decision.verdict is None:
            raise AuditError("a decision", expected="one with a verdict", got="none")
        self.verdict(
            key,
            decision.verdict,
            step=decision.step,
            outcome=Outcome(decision.outcome.value, decision.rule, decision.labels),
            timings_ms={"decision": decision.passed_ms},
            about={"tool": decision.tool[:_MOST_NAME], "call_id": decision.call_id[:_MOST_NAME]},
        )

    def verdict(
        self,
        session: str,
        verdict: Verdict,
        *,
        step: Step | None = None,
        outcome: Outcome | None = None,
        timings_ms: Mapping[str, float] | None = None,
        about: Mapping[str, Plain] | None = None,
    ) -> str:
        """Records a verdict as `AuditLog.decision` does, and what follows it; the line's hash."""
        diagnosis, second = verdict.diagnosis, verdict.second
        if diagnosis is not None and not diagnosis.done():
            verdict = dataclasses.replace(verdict, diagnosis=None)
        else:
            diagnosis = None
        line = self._log.decision(
            verdict,
            step=step,
            session=session,
            outcome=outcome,
            timings_ms=timings_ms,
            about=about,
        )
        if diagnosis is not None:
            self._later(diagnosis, lambda value: self._log.diagnosis(value, session=session))
        if second is not None:
            more = {"call": "second", "of": line}
            self._later(
                second,
                lambda value: self.verdict(session, value, step=step, about=more),
            )
        return line

    def wait(self) -> None:
        """Until everything that follows the verdicts so far is there, and recorded."""
        with self._lock:
            self._lock.wait_for(lambda: self._left == 0)

    def _later(self, future: Future[Any], write: Callable[[Any], object]) -> None:
        """Once for each: the calls of one turn may share what follows."""
        with self._lock:
            if future in self._waiting:
                return
            self._waiting.add(future)
            self._left += 1

        def done(found: Future[Any]) -> None:
            try:
                write(found.result())
            except Exception as error:
                self._failed(error)
            finally:
                with self._lock:
                    self._left -= 1
                    self._lock.notify_all()

        future.add_done_callback(done)


def _report(error: Exception) -> None:
    _log.error("what followed a decision could not be recorded", exc_info=error)
