"""The JSON object of `moderate`: which model judged, and what it said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepguard.files import Named
from stepguard.guard import Guard
from stepguard.taxonomy import Status, Verdict

UNTRAINED = (
    "Note: this model was never trained to judge. Its verdicts show that the road works and what "
    "it costs; what they say means nothing."
)
# The first of these that occurs is the exit status.
_STATUSES = {Status.UNSAFE: 10, Status.UNAVAILABLE: 12, Status.UNSURE: 11}


def worst(verdicts: Sequence[Verdict]) -> Status:
    """The status that decides: unsafe before unavailable before unsure before safe."""
    there = {_final(verdict).status for verdict in verdicts}
    return next((status for status in _STATUSES if status in there), Status.SAFE)


def _final(verdict: Verdict) -> Verdict:
    """That of the larger guard, where it has one."""
    second = None if verdict.second is None else verdict.second.result()
    return verdict if second is None or second.reason is not None else second


def exit_status(verdicts: Sequence[Verdict]) -> int:
    """The exit status of the command."""
    return _STATUSES.get(worst(verdicts), 0)


def model_facts(path: str, guard: Guard) -> dict[str, Any]:
    """Which model judged, and what it ran on."""
    low, high = guard.thresholds
    return {
        "path": path,
        "sha256": guard.manifest.sha256,
        "prompt": guard.prompt.name,
        "prompt_sha256": guard.prompt.sha256,
        "trained": guard.trained,
        "isa": guard.isa,
        "threads": guard.threads,
        "kv": guard.kv,
        "activations": guard.activations,
        "calibrated": guard.calibrated,
        "low": low,
        "high": high,
    }


def to_object(
    facts: dict[str, Any], found: Sequence[Named], verdicts: Sequence[Sequence[Verdict]]
) -> dict[str, Any]:
    """What --json prints. facts: `model_facts`, and `seconds`."""
    every = [verdict for one in verdicts for verdict in one]
    return {
        "model": facts,
        "trajectories": [
            {"id": item.name, "verdicts": [verdict.to_dict() for verdict in one]}
            for item, one in zip(found, verdicts, strict=True)
        ],
        "status": worst(every),
        "exit_status": exit_status(every),
        "note": None if facts["trained"] else UNTRAINED,
    }
