"""What the engine answers about a question, as a verdict."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepguard.errors import PromptError, TaxonomyError
from stepguard.heads import HEAD, Head
from stepguard.manifest import Manifest
from stepguard.prompt import Prompt
from stepguard.prompt.answers import RATIONALE
from stepguard.rationale import Outcome
from stepguard.runtime import Result
from stepguard.taxonomy import (
    EXPORT_AGAIN,
    Calibration,
    Fields,
    GuardId,
    LabelRows,
    Reason,
    Status,
    Taxonomy,
    Verdict,
    judge,
)
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
    labels: LabelRows | None
    calibration: Calibration | None
    vocabulary: int
    """Output rows of the model."""
    fields: Fields | None = None
    """What a diagnosis reads; None for a guard that was exported without."""
    head: Head | None = None
    """What gives the margin in place of the label logits."""

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        prompt: Prompt,
        *,
        kv: str,
        activations: str,
        taxonomy: Taxonomy | None = None,
        head: Head | None = None,
    ) -> Judge:
        """`taxonomy`: the labels of a diagnosis, if not all that the guard has. `head`: that of the
        verdict, where it is to be read.

        Raises TaxonomyError when labels or calibration contradict themselves, or the guard was not
        exported with a label. A calibration for another prompt, type of KV pages or of activations
        does not count.
        """
        labels, mode = prompt.labels, prompt.mode if head is None else HEAD
        rows = [[s.path[0] for s in labels[name]] for name in _LABELS] if labels else None
        return cls(
            guard=GuardId(model=manifest.sha256, prompt=prompt.id),
            mode=mode,
            labels=None if rows is None else LabelRows.of(*rows),
            calibration=_calibration(manifest, mode, prompt, kv, activations),
            vocabulary=manifest.architecture.vocabulary,
            fields=fields_of(manifest, taxonomy),
            head=head,
        )

    @property
    def rows(self) -> Ids:
        """int32 [r]: the output rows that a verdict needs.

        A head needs none, but the hidden row comes only with at least one.
        """
        if self.labels is not None:
            return np.array(self.labels.ids, np.int32)
        return np.array(() if self.head is None else (0,), np.int32)

    @property
    def writes(self) -> bool:
        """Whether verdicts are read off written answers."""
        return self.mode == RATIONALE

    def check_verdicts(self) -> None:
        """Raises PromptError for a guard that gives none."""
        if self.labels is None and self.head is None:
            raise PromptError(
                "verdict",
                expected="a guard that judges",
                got="one that only diagnoses",
                fix="Ask it for a diagnosis, and a guard of another kind for verdicts.",
            )

    @property
    def needed_fields(self) -> Fields:
        """What a diagnosis reads. Raises TaxonomyError for a guard without."""
        if self.fields is None:
            raise TaxonomyError(
                "the guard",
                expected="labels of a diagnosis",
                got="an export without",
                fix=EXPORT_AGAIN,
            )
        return self.fields

    def verdict(self, ask: Ask, answers: Sequence[Result], have: int, cost: Cost) -> Verdict:
        """From the results of the question, asked once or more often: the least safe counts.

        `have` tokens of the track are read now.
        """
        for answer in answers:
            if answer.reason:
                reason = Reason(answer.reason)
                return self.unavailable(ask, reason, answer.message, have, cost)
        self.check_verdicts()
        margins = [self._margin(answer) for answer in answers]
        if not all(map(math.isfinite, margins)):
            what = "a label logit" if self.head is None else "the output of the head"
            text = f"{what} is not a finite number"
            return self.unavailable(ask, Reason.NUMERIC, text, have, cost)
        margin = max(margins)
        status, score = judge(margin, self.calibration)
        return self._answered(ask, status, margin, score, len(answers), cost)

    def _margin(self, answer: Result) -> float:
        if self.head is not None:
            return self.head.margin(answer.hidden)
        assert self.labels is not None
        return self.labels.margin(answer.logits)

    def read(self, ask: Ask, outcomes: Sequence[Outcome], have: int, cost: Cost) -> Verdict:
        """From written answers to the question, which was asked once or more often.

        The least safe counts. What an answer says holds, but a calibration of this mode may call a
        safe one unsure or unsafe, by the margin where the word was written.
        """
        text = "\n\n".join(outcome.text for outcome in outcomes if outcome.text)
        for outcome in outcomes:
            if outcome.reason is not None:
                answer = self.unavailable(ask, outcome.reason, outcome.message, have, cost)
                return dataclasses.replace(answer, rationale=text)
        unsafe = any(o.written is None or o.written.label != "safe" for o in outcomes)
        margins = [-math.inf if o.margin is None else o.margin for o in outcomes]
        if not all(map(math.isfinite, margins)):
            text = "a label logit is not a finite number"
            return self.unavailable(ask, Reason.NUMERIC, text, have, cost)
        margin = max(margins)
        status, score = judge(margin, self.calibration)
        if unsafe or self.calibration is None:
            status = Status.UNSAFE if unsafe else Status.SAFE
        answer = self._answered(ask, status, margin, score, len(outcomes), cost)
        return dataclasses.replace(answer, rationale=text)

    def _answered(
        self, ask: Ask, status: Status, margin: float, score: float, windows: int, cost: Cost
    ) -> Verdict:
        return Verdict(
            status=status,
            margin=margin,
            score=score,
            calibrated=self.calibration is not None,
            coverage=self.coverage(ask),
            windows=windows,
            **self._common(ask, cost),
        )

    def unavailable(self, ask: Ask, reason: Reason, message: str, have: int, cost: Cost) -> Verdict:
        """No answer, though `have` tokens of the track are read."""
        track = ask.track
        # Of a malformed step nobody knows the tokens: it counts as one, as does an unreadable part.
        total = ask.total + track.beside + track.lost + track.unreadable + bool(track.malformed)
        return Verdict(
            status=Status.UNAVAILABLE,
            reason=reason,
            message=message,
            coverage=have / max(1, total),
            **self._common(ask, cost),
        )

    def coverage(self, ask: Ask) -> float:
        """Share of the trajectory's tokens that an answer covers."""
        seen = ask.total + ask.track.beside
        return seen / max(1, seen + ask.track.lost + ask.track.unreadable)

    def _common(self, ask: Ask, cost: Cost) -> dict[str, Any]:
        track = ask.track
        return {
            "guard": self.guard,
            "mode": self.mode,
            "step": track.count - 1 if track.count else None,
            "neutralised": track.neutralised,
            "capped": track.capped,
            "unreadable": track.unreadable,
            "left_out": track.left_out,
            "tokens_read": cost.tokens,
            "latency_ms": cost.latency_ms,
        }


def fields_of(manifest: Manifest, taxonomy: Taxonomy | None) -> Fields | None:
    """What a diagnosis reads: all labels of a guard, or a taxonomy's. Raises TaxonomyError."""
    if manifest.diagnosis is None:
        if taxonomy is None:
            return None
        raise TaxonomyError(
            f"taxonomy {taxonomy.name}",
            expected="a guard that was exported with its labels",
            got="one without labels of a diagnosis",
            fix=EXPORT_AGAIN,
        )
    fields = Fields.from_manifest(manifest.taxonomy or "", manifest.diagnosis)
    rows = manifest.architecture.vocabulary
    most = max(i for f in fields.fields for i in (*f.head, *(x for e in f.entries for x in e.path)))
    if most >= rows:
        raise TaxonomyError("diagnosis", expected=f"ids below the {rows} rows", got=f"id {most}")
    return fields if taxonomy is None else fields.restrict(taxonomy)


def _calibration(
    manifest: Manifest, mode: str, prompt: Prompt, kv: str, activations: str
) -> Calibration | None:
    wanted = (mode, manifest.sha256, prompt.asked, kv, activations)
    for entry in manifest.calibration:
        if (entry.mode, entry.model, entry.prompt, entry.kv, entry.activations) == wanted:
            knots = tuple((knot.margin, knot.score) for knot in entry.knots)
            return Calibration(entry.scale, entry.bias, entry.low, entry.high, knots)
    return None
