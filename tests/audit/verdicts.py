"""Verdicts and steps to be logged."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from stepguard import Diagnosis, Reason, Status, Step, Verdict
from stepguard.taxonomy import GuardId

GUARD = GuardId("a" * 64, "b" * 64)
SECRET = "the-password-is-swordfish"
STEP = Step.agent(thought=SECRET, action='send("all")')


def verdict(**changes: Any) -> Verdict:
    fields: dict[str, Any] = {
        "status": Status.SAFE,
        "guard": GUARD,
        "mode": "first_token",
        "step": 3,
        "margin": -1.5,
        "score": 0.18,
        "tokens_read": 40,
        "latency_ms": 12.5,
        "rationale": f"It says {SECRET}.",
    }
    return Verdict(**{**fields, **changes})


def unavailable() -> Verdict:
    return verdict(
        status=Status.UNAVAILABLE, reason=Reason.MALFORMED, message=SECRET, margin=None, score=None
    )


def diagnosis() -> Diagnosis:
    return Diagnosis(
        guard=GUARD,
        taxonomy="test",
        order=("risk_source",),
        risk_source={"page": 0.75, "tool": 0.25},
        out_of_vocabulary={"risk_source": 0.1},
        step=3,
        latency_ms=7.0,
    )


def diagnosed() -> Verdict:
    done: Future[Diagnosis] = Future()
    done.set_result(diagnosis())
    return verdict(status=Status.UNSAFE, margin=2.0, score=0.9, diagnosis=done)
