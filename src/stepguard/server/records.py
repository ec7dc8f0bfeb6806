"""What a server says is recorded before it is said, or it is not said at all."""

from __future__ import annotations

import dataclasses
import logging

from stepguard.audit import Outcome, Recorder
from stepguard.policy import Decision
from stepguard.prompt import Step
from stepguard.recording import without_record
from stepguard.server.faults import Fault
from stepguard.taxonomy import Verdict

_log = logging.getLogger("stepguard.server")


class Records:
    """Used on the threads of calls. Without a recorder all of it does nothing."""

    def __init__(self, recorder: Recorder | None) -> None:
        self.recorder = recorder

    def verdict(
        self,
        session: str,
        verdict: Verdict,
        call: str,
        *,
        step: Step | None = None,
        of: str = "",
        outcome: str = "",
    ) -> str:
        """Records a verdict, or what its client made of it; the hash of the line.

        of: the hash of the line that this one follows from. Raises Fault 503 where it could not be
        recorded.
        """
        if self.recorder is None:
            return ""
        about = {"call": call} | ({"of": of} if of else {})
        found = Outcome(outcome) if outcome else None
        try:
            return self.recorder.verdict(session, verdict, step=step, outcome=found, about=about)
        except Exception as error:
            _log.exception("a verdict could not be recorded")
            hint = "What could not be recorded does not count. The server's log says what happened."
            raise Fault(503, "NotRecorded", "the server", hint=hint, retry_s=5) from error

    def decision(self, key: str, decision: Decision, step: Step, passed_ms: float) -> Decision:
        """Records what a hook is told: the same decision, or a block."""
        if self.recorder is None:
            return decision
        try:
            found = dataclasses.replace(decision, step=step, passed_ms=passed_ms)
            self.recorder(key, found)
            return decision
        except Exception:
            _log.exception("a decision could not be recorded")
            return without_record(decision)
