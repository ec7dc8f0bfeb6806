"""What was read of a diagnosis, as a diagnosis: complete, or with the reason why it is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepguard.diagnose import Answered, IncompleteError
from stepguard.judge import Cost, Judge
from stepguard.taxonomy import Diagnosis, Fields
from stepguard.track import Ask


def diagnosis_of(
    judge: Judge,
    ask: Ask,
    fields: Fields,
    read: Mapping[str, Answered],
    cost: Cost,
    top: int,
    ended: IncompleteError | None,
) -> Diagnosis:
    """The diagnosis at the end of a track; read: what was answered, dimension by dimension."""
    track = ask.track
    found: dict[str, Any] = {name: answered.shares for name, answered in read.items()}
    return Diagnosis(
        guard=judge.guard,
        taxonomy=fields.taxonomy,
        order=tuple(field.dimension.value for field in fields.fields),
        top=top,
        **found,
        out_of_vocabulary={name: answered.outside for name, answered in read.items()},
        written={name: answered.written for name, answered in read.items()},
        step=track.count - 1 if track.count else None,
        reason=None if ended is None else ended.reason,
        message="" if ended is None else ended.message,
        coverage=judge.coverage(ask) if read else 0.0,
        left_out=track.left_out,
        windows=len(track.all),
        tokens_read=cost.tokens,
        latency_ms=cost.latency_ms,
    )
