"""What the engine answers about a question, as a verdict."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepguard.manifest import Manifest
from stepguard.prompt import Prompt
from stepguard.runtime import Result
from stepguard.taxonomy import Calibration, GuardId, LabelRows, Reason, Status, Verdict, judge
from stepguard.track import Ask, Ids

_LABELS = ("safe", "unsafe")


@dataclass(frozen=True)
class Cost:
    """What a verdict cost: tokens read since the one before, and milliseconds."""

    tokens: int
    latency_ms: float


@dataclass(frozen=True)
class Judge:
    """What it takes to make verdicts of one guard's label logits."""

    guard: GuardId
    mode: str
    labels: LabelRows
    calibration: Calibration | None

    @classmethod
    def of(cls, manifest: Manifest, prompt: Prompt) -> Judge:
        """Raises TaxonomyError when labels or calibration contradict themselves."""
        entry = manifest.calibration.get(prompt.mode)
        return cls(
            guard=GuardId(model=manifest.sha256, prompt=prompt.sha256),
            mode=prompt.mode,
            labels=LabelRows.of(*([s.path[0] for s in prompt.labels[name]] for name in _LABELS)),
            calibration=None if entry is None else Calibration(**dataclasses.asdict(entry)),
        )

    @property
    def rows(self) -> Ids:
        """int32 [r]: the output rows that a verdict needs."""
        return np.array(self.labels.ids, np.int32)

    def verdict(self, ask: Ask, answers: Sequence[Result], have: int, cost: Cost) -> Verdict:
        """From the results of the question, asked once or more often: the least safe counts.

        `have` tokens of the track are read now.
        """
        for answer in answers:
            if answer.reason:
                reason = Reason(answer.reason)
                return self.unavailable(ask, reason, answer.message, have, cost)
        margins = [self.labels.margin(answer.logits) for answer in answers]
        if not all(map(math.isfinite, margins)):
            text = "a label logit is not a finite number"
            return self.unavailable(ask, Reason.NUMERIC, text, have, cost)
        margin = max(margins)
        status, score = judge(margin, self.calibration)
        return Verdict(
            status=status,
            margin=margin,
            score=score,
            calibrated=self.calibration is not None,
            coverage=ask.total / max(1, ask.total + ask.track.lost + ask.track.unreadable),
            **self._common(ask, cost),
        )

    def unavailable(self, ask: Ask, reason: Reason, message: str, have: int, cost: Cost) -> Verdict:
        """No answer, though `have` tokens of the track are read."""
        track = ask.track
        # Of a malformed step nobody knows the tokens: it counts as one, as does an unreadable part.
        total = ask.total + track.lost + track.unreadable + bool(track.malformed)
        return Verdict(
            status=Status.UNAVAILABLE,
            reason=reason,
            message=message,
            coverage=have / max(1, total),
            **self._common(ask, cost),
        )

    def _common(self, ask: Ask, cost: Cost) -> dict[str, Any]:
        track = ask.track
        return {
            "guard": self.guard,
            "mode": self.mode,
            "step": track.step,
            "neutralised": track.neutralised,
            "capped": track.capped,
            "unreadable": track.unreadable,
            "left_out": track.left_out,
            "tokens_read": cost.tokens,
            "latency_ms": cost.latency_ms,
        }
