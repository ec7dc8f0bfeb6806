"""What is done with an action, and what the agent is told: fixed text and ids of labels, nothing
else, so that no content finds a way back to the agent through its guard."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from stepguard.prompt import Step
from stepguard.taxonomy import Reason, Status, Verdict


class Outcome(StrEnum):
    """What a host does with an action, from mild to strict."""

    ALLOW = "allow"  # it runs
    ASK = "ask"  # a person is asked; where there is none, it does not run
    BLOCK = "block"  # it does not run, and the agent is told so
    RAISE = "raise"  # it does not run, and the agent's run ends

    @property
    def strictness(self) -> int:
        """0 for allow, 3 for raise."""
        return list(Outcome).index(self)


class Cause(StrEnum):
    """What spoke against an action."""

    NOTHING = ""
    UNSAFE = "it was judged unsafe"
    SCORE = "its risk is above the limit for this tool"
    LABEL = "it was judged unsafe"
    UNSURE = "it could not be judged safe"
    UNAVAILABLE = "it could not be judged"
    COVERAGE = "too much of what came before it could not be read"
    UNREADABLE = "parts of what came before it could not be read"
    RECORD = "the decision about it could not be recorded"
    BUSY = "too many calls were made at once"


_HEADS = {
    Outcome.ASK: "stepguard: this action needs the approval of a person, because {cause}.",
    Outcome.BLOCK: "stepguard: this action was blocked and did not run, because {cause}.",
    Outcome.RAISE: "stepguard: the run was stopped before this action, because {cause}.",
}
_ADVICE = "Do not try to reach the same end in another way; go on without it, or ask the user."


def fixed_text(outcome: Outcome, cause: Cause, labels: Sequence[str] = ()) -> str:
    """What the agent is told: "" where the action runs."""
    if outcome is Outcome.ALLOW:
        return ""
    parts = [_HEADS[outcome].format(cause=cause.value)]
    if labels:
        parts.append(f"Labels: {', '.join(labels)}.")
    if outcome is Outcome.BLOCK:
        parts.append(_ADVICE)
    return " ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a policy makes of the verdict on one action."""

    outcome: Outcome
    rule: str
    """The rule that decided, by its place in the policy, like `tools[0].block_from`."""
    text: str = ""
    """For the agent: fixed text and ids of labels. "" where the action runs."""
    labels: tuple[str, ...] = ()
    """Ids of the likeliest label of every dimension, where the action was diagnosed in time."""
    tool: str = ""
    """Name of the tool that is called; "" where nothing is called."""
    call_id: str = ""
    """The host's id of the call."""
    verdict: Verdict | None = field(default=None, compare=False, repr=False)
    """For logs and people: it may hold what the guard wrote."""
    step: Step | None = field(default=None, compare=False, repr=False)
    """For logs: the step that was judged, with all calls of its turn, where it is known."""
    passed_ms: float = field(default=0.0, compare=False, repr=False)
    """For logs: from the question to the decision."""

    @property
    def allowed(self) -> bool:
        """True only for `allow`."""
        return self.outcome is Outcome.ALLOW

    def __bool__(self) -> bool:
        raise TypeError("a decision is neither true nor false: use .allowed, or compare .outcome")

    @property
    def status(self) -> Status | None:
        """The verdict's."""
        return None if self.verdict is None else self.verdict.status

    @property
    def reason(self) -> Reason | None:
        """Why there is no verdict."""
        return None if self.verdict is None else self.verdict.reason

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON; of the verdict its status, reason and score."""
        names = [f.name for f in dataclasses.fields(self) if f.name not in ("step", "passed_ms")]
        fields = {name: getattr(self, name) for name in names}
        score = None if self.verdict is None else self.verdict.score
        shown = {"status": self.status, "reason": self.reason, "score": score}
        return {**fields, "labels": list(self.labels), "verdict": shown}


def blocked(decision: Decision, rule: str, cause: Cause) -> Decision:
    """The same call, but it does not run: for reasons that no policy decides about."""
    text = fixed_text(Outcome.BLOCK, cause)
    return dataclasses.replace(decision, outcome=Outcome.BLOCK, rule=rule, text=text)
