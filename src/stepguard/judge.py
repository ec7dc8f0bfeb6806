"""What the engine answers about a question, as a verdict."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepguard.manifest import Manifest
from stepguard.prompt import Prompt
from stepguard.runtime import Result
from stepguard.taxonomy import Calibration, GuardId, LabelRows, Reason, Status, Verdict, judge
from stepguard.track import Ask, Ids, Track

_LABELS = ("safe", "unsafe")


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

    def verdict(self, ask: Ask, answer: Result, have: int, latency_ms: float) -> Verdict:
        """From the result of the question's segment; `have` tokens of the track are read now."""
        if answer.reason:
            reason = Reason(answer.reason)
            return self.unavailable(ask, reason, answer.message, have, latency_ms)
        margin = self.labels.margin(answer.logits)
        if not math.isfinite(margin):
            text = "a label logit is not a finite number"
            return self.unavailable(ask, Reason.NUMERIC, text, have, latency_ms)
        status, score = judge(margin, self.calibration)
        return Verdict(
            status=status,
            margin=margin,
            score=score,
            calibrated=self.calibration is not None,
            coverage=_coverage(ask),
            tokens_read=ask.track.unasked + ask.tokens,
            **self._common(ask.track, latency_ms),
        )

    def unavailable(
        self, ask: Ask, reason: Reason, message: str, have: int, latency_ms: float
    ) -> Verdict:
        """No answer, though `have` tokens of the track are read."""
        track = ask.track
        # Of a malformed step nobody knows the tokens: it counts as one.
        total = track.read + ask.tokens + bool(track.malformed)
        return Verdict(
            status=Status.UNAVAILABLE,
            reason=reason,
            message=message,
            coverage=have / max(1, total + track.unreadable),
            tokens_read=max(0, track.unasked + have - track.read),
            **self._common(track, latency_ms),
        )

    def _common(self, track: Track, latency_ms: float) -> dict[str, Any]:
        return {
            "guard": self.guard,
            "mode": self.mode,
            "step": track.step,
            "neutralised": track.neutralised,
            "capped": track.capped,
            "unreadable": track.unreadable,
            "latency_ms": latency_ms,
        }


def _coverage(ask: Ask) -> float:
    """Share of the trajectory that was read; a part that no text stands for counts as a token."""
    total = ask.track.read + ask.tokens
    return total / (total + ask.track.unreadable)
