"""The rules of a policy. A policy is a value: what it says depends on the verdict alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from stepguard.policy.decision import Cause, Decision, Outcome, fixed_text
from stepguard.taxonomy import Diagnosis, Reason, Status, Verdict

Patterns = tuple[str, ...]


def _matches(patterns: Patterns, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What follows from a verdict.

    Limits are of the score, and the strictest one that it reaches decides. Below them the status
    decides, unless `ask_from` or `block_from` is given: then what is below them is allowed.
    """

    unsafe: Outcome = Outcome.BLOCK
    unsure: Outcome = Outcome.BLOCK
    unavailable: Outcome = Outcome.BLOCK
    reasons: Mapping[Reason, Outcome] = field(default_factory=dict)
    """In place of `unavailable`, by its reason."""
    least_coverage: float = 0.5
    """Share of the trajectory's tokens that must have been read."""
    low_coverage: Outcome = Outcome.BLOCK
    """Where less was read."""
    unreadable: Outcome = Outcome.ASK
    """Where parts of the trajectory (images ...) have no text that could be read."""
    ask_from: float | None = None
    block_from: float | None = None
    raise_from: float | None = None

    @property
    def limits(self) -> dict[Outcome, tuple[str, float]]:
        """The limits that are given, the strictest first."""
        found = {
            Outcome.RAISE: ("raise_from", self.raise_from),
            Outcome.BLOCK: ("block_from", self.block_from),
            Outcome.ASK: ("ask_from", self.ask_from),
        }
        return {o: (name, value) for o, (name, value) in found.items() if value is not None}

    @property
    def below(self) -> tuple[str, float] | None:
        """The lowest limit, where what is below it is allowed; None where the status decides."""
        if self.ask_from is None and self.block_from is None:
            return None
        return min(self.limits.values(), key=lambda limit: limit[1])


@dataclass(frozen=True, kw_only=True)
class ToolRule:
    """What is different for some tools. match: globs of their names, as the host has them."""

    match: Patterns
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LabelRule:
    """What an unsafe action's diagnosis changes: the first rule that fits replaces the outcome.

    match: globs of label ids, alone or behind their dimension (`real_world_harm.*`). share: the
    least probability of the label. tools: globs of the tools for which it holds.
    """

    match: Patterns
    outcome: Outcome
    share: float = 0.5
    tools: Patterns = ("*",)

    def fits(self, tool: str, diagnosis: Diagnosis) -> bool:
        """Whether one of its labels is likely enough."""
        return _matches(self.tools, tool) and any(
            share >= self.share
            and (_matches(self.match, label) or _matches(self.match, f"{dimension}.{label}"))
            for dimension in diagnosis.order
            for label, share in diagnosis.of(dimension).items()
        )


@dataclass(frozen=True)
class _Found:
    outcome: Outcome
    rule: str
    cause: Cause


@dataclass(frozen=True, kw_only=True)
class Policy:
    """From a verdict to an outcome. Without any rules: only what is safe runs."""

    default: Settings = field(default_factory=Settings)
    tools: tuple[ToolRule, ...] = ()
    labels: tuple[LabelRule, ...] = ()
    deadline_ms: float = 2000.0
    """When an answer has to be there. It must be below the host's own limit: most hosts let a call
    run when theirs is over."""

    def settings(self, tool: str) -> tuple[str, Settings]:
        """What holds for a tool, by the first rule that fits, and the place of that rule."""
        for index, rule in enumerate(self.tools):
            if _matches(rule.match, tool):
                return self.settings_of(index)
        return "default", self.default

    def settings_of(self, index: int) -> tuple[str, Settings]:
        """What holds by one of the rules for tools, and its place."""
        changes = self.tools[index].changes
        reasons = {**self.default.reasons, **changes.get("reasons", {})}
        return f"tools[{index}]", replace(self.default, **{**changes, "reasons": reasons})

    def decide(self, verdict: Verdict, tool: str = "", call_id: str = "") -> Decision:
        """The decision on one action. Does not wait for a diagnosis that is not there yet."""
        place, settings = self.settings(tool)
        diagnosis = _diagnosis(verdict)
        if verdict.status is Status.UNAVAILABLE:
            found = _unavailable(verdict, place, settings)
        else:
            found = _judged(verdict, place, settings)
            if diagnosis is not None and verdict.status is Status.UNSAFE:
                found = self._labelled(found, tool, diagnosis)
            found = _covered(found, verdict, place, settings)
        labels = () if diagnosis is None else tuple(diagnosis.best.values())
        return Decision(
            outcome=found.outcome,
            rule=found.rule,
            text=fixed_text(found.outcome, found.cause, labels),
            labels=labels,
            tool=tool,
            call_id=call_id,
            verdict=verdict,
        )

    def _labelled(self, found: _Found, tool: str, diagnosis: Diagnosis) -> _Found:
        for index, rule in enumerate(self.labels):
            if rule.fits(tool, diagnosis):
                return _Found(rule.outcome, f"labels[{index}]", Cause.LABEL)
        return found


def _unavailable(verdict: Verdict, place: str, settings: Settings) -> _Found:
    reason = verdict.reason
    if reason is not None and reason in settings.reasons:
        rule = f"{place}.reasons.{reason}"
        return _Found(settings.reasons[reason], rule, Cause.UNAVAILABLE)
    return _Found(settings.unavailable, f"{place}.unavailable", Cause.UNAVAILABLE)


def _judged(verdict: Verdict, place: str, settings: Settings) -> _Found:
    if settings.limits:
        score = 1.0 if verdict.score is None else verdict.score
        for outcome, (name, limit) in settings.limits.items():
            if score >= limit:
                return _Found(outcome, f"{place}.{name}", Cause.SCORE)
        if settings.below is not None:
            return _Found(Outcome.ALLOW, f"{place}.{settings.below[0]}", Cause.NOTHING)
    if verdict.status is Status.UNSAFE:
        return _Found(settings.unsafe, f"{place}.unsafe", Cause.UNSAFE)
    if verdict.status is Status.UNSURE:
        return _Found(settings.unsure, f"{place}.unsure", Cause.UNSURE)
    return _Found(Outcome.ALLOW, "safe", Cause.NOTHING)


def _covered(found: _Found, verdict: Verdict, place: str, settings: Settings) -> _Found:
    """The same, or what follows from what was not read, where that is stricter."""
    others = []
    if verdict.coverage < settings.least_coverage:
        rule = f"{place}.low_coverage"
        others.append(_Found(settings.low_coverage, rule, Cause.COVERAGE))
    if verdict.unreadable:
        others.append(_Found(settings.unreadable, f"{place}.unreadable", Cause.UNREADABLE))
    return max([found, *others], key=lambda one: one.outcome.strictness)


def _diagnosis(verdict: Verdict) -> Diagnosis | None:
    future = verdict.diagnosis
    return future.result() if future is not None and future.done() else None
