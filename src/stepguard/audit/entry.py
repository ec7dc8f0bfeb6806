"""What a line says of a decision. Content is in it only where it was asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stepguard.errors import AuditError
from stepguard.prompt import Step
from stepguard.taxonomy import Diagnosis, Verdict

Plain = str | int | float | bool | None

# Of a verdict; the others are hashes, of which there is one place, or words, which are content.
_VERDICT = (
    "allowed",
    "status",
    "reason",
    "mode",
    "margin",
    "score",
    "calibrated",
    "coverage",
    "tokens_read",
    "neutralised",
    "capped",
    "unreadable",
    "left_out",
    "windows",
)
_DIAGNOSIS = (
    "taxonomy",
    "order",
    "top",
    "complete",
    "reason",
    "best",
    "risk_source",
    "failure_mode",
    "real_world_harm",
    "out_of_vocabulary",
    "coverage",
)


@dataclass(frozen=True)
class Outcome:
    """What a policy made of a verdict.

    outcome: allow, ask, block, raise, or a word of one's own. rule: the name of the rule that
    decided. labels: ids of the labels that it decided by.
    """

    outcome: str
    rule: str = ""
    labels: Sequence[str] = ()


def hash_step(step: Step) -> str:
    """sha256 (hex) of a step: of [role, [[key, text], ...]] as JSON in ASCII without blanks.

    Short texts can be guessed from it: it tells whether a step is the same, and hides little.
    """
    value = [step.role, [[key, text.json] for key, text in step.fields]]
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode("ascii")).hexdigest()


def decision(
    verdict: Verdict,
    *,
    step: Step | None,
    session: str,
    outcome: Outcome | None,
    timings_ms: Mapping[str, float],
    about: Mapping[str, Plain],
    content: bool,
) -> dict[str, Any]:
    """The body of a line. Raises AuditError for an `about` that is not flat, or no Outcome."""
    for key, value in about.items():
        if not isinstance(key, str) or not (value is None or isinstance(value, str | int | float)):
            raise AuditError(
                f"about[{key!r}]",
                expected="text, a number, a truth value or None",
                got=_kind(value),
            )
    facts = verdict.to_dict()
    diagnosis = facts["diagnosis"]
    body = {
        **_head("decision", session, verdict.step),
        "verdict": {name: facts[name] for name in _VERDICT},
        "policy": None if outcome is None else _policy(outcome),
        "model": verdict.guard.model,
        "prompt": verdict.guard.prompt,
        "text": None if step is None else hash_step(step),
        "timings_ms": {"verdict": verdict.latency_ms, **timings_ms},
        "diagnosis": None if diagnosis is None else {k: diagnosis[k] for k in _DIAGNOSIS},
        "about": dict(about),
    }
    if content:
        fields = None if step is None else [[key, text.json] for key, text in step.fields]
        body["content"] = {
            "role": None if step is None else step.role,
            "fields": fields,
            "message": verdict.message,
            "rationale": verdict.rationale,
        }
    return body


def later(diagnosis: Diagnosis, *, session: str) -> dict[str, Any]:
    """The body of a line for a diagnosis that came after its decision was logged."""
    facts = diagnosis.to_dict()
    return {
        **_head("diagnosis", session, diagnosis.step),
        "model": diagnosis.guard.model,
        "prompt": diagnosis.guard.prompt,
        "timings_ms": {"diagnosis": diagnosis.latency_ms},
        "diagnosis": {name: facts[name] for name in _DIAGNOSIS},
    }


def note(what: str, **facts: Plain) -> dict[str, Any]:
    """The body of a line about the log itself."""
    return {"time": now(), "kind": "note", "note": what, **facts}


def now() -> str:
    """UTC with microseconds, as in 2026-01-31T12:00:00.000000Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _head(kind: str, session: str, step: int | None) -> dict[str, Any]:
    return {"time": now(), "kind": kind, "session": session, "step": step}


def _policy(outcome: Outcome) -> dict[str, Any]:
    try:
        found = {"outcome": str(outcome.outcome), "rule": outcome.rule}
        return {**found, "labels": list(outcome.labels)}
    except (AttributeError, TypeError) as error:
        expected = "an Outcome, or None"
        raise AuditError("outcome", expected=expected, got=_kind(outcome)) from error


def _kind(value: object) -> str:
    return type(value).__name__
