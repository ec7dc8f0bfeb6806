"""What a check answers."""

from __future__ import annotations

import dataclasses
import json
import math
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from stepguard.taxonomy.status import Reason, Status

if TYPE_CHECKING:
    from stepguard.taxonomy.diagnosis import Diagnosis


@dataclass(frozen=True)
class GuardId:
    """Which guard judged: hashes (hex) of its files and of its prompt."""

    model: str
    prompt: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a check answers about the trajectory up to and including one step."""

    status: Status
    guard: GuardId
    mode: str
    """How it was read: `first_token`, `forced`, `rationale` or `head`; `screen` where a screen read
    one tool result."""
    step: int | None = None
    """Index of the step in the flattened trajectory; None before the first."""
    reason: Reason | None = None
    """Why there is no answer; only with `unavailable`."""
    message: str = ""
    """The reason in words, for people."""
    margin: float | None = None
    """Logit of unsafe minus logit of safe."""
    score: float | None = None
    """0 to 1, higher is less safe: a probability when `calibrated`, else the margin's sigmoid."""
    calibrated: bool = False
    coverage: float = 1.0
    """Share of the trajectory's tokens that was read."""
    tokens_read: int = 0
    """Tokens read since the verdict before this one, this one's question included."""
    neutralised: int = 0
    """How often text of the trajectory so far imitated the template's delimiters."""
    capped: int = 0
    """How often text so far was cut into tokens at the cap, not where the tokenizer would."""
    unreadable: int = 0
    """How many parts of the steps so far were no text (images ...) and were not read."""
    left_out: tuple[tuple[int, int], ...] = ()
    """First and last index of every run of steps that was left out, in whole or in part, to fit the
    context."""
    windows: int = 1
    """In how many windows the trajectory was read, because of a step that is too long for the
    context; the margin is the largest of theirs."""
    rationale: str | None = None
    """The answer that the guard wrote, for people, not for the agent; None where it wrote none."""
    screened: tuple[Verdict, ...] = dataclasses.field(default=(), compare=False)
    """Where a screen stands before the guard: its verdicts, of mode `screen`, on the tool results
    so far that it did not call safe. They never change what the guard's own verdict says."""
    latency_ms: float = 0.0
    """From the call to the answer; of a whole trajectory, where it was read at once."""
    diagnosis: Future[Diagnosis] | None = dataclasses.field(default=None, compare=False, repr=False)
    """Of an unsafe verdict: the diagnosis, which is read after the verdict was given. It never
    raises: what went wrong is its `reason`. None for other verdicts, and for guards without labels.
    """
    second: Future[Verdict] | None = dataclasses.field(default=None, compare=False, repr=False)
    """Of an unsure verdict, where the guard has a larger one beside it: what that one says, later.
    It never raises."""

    def __post_init__(self) -> None:
        if (self.status is Status.UNAVAILABLE) != (self.reason is not None):
            raise ValueError("a reason belongs to `unavailable`, and to no other status")

    @property
    def allowed(self) -> bool:
        """True only for `safe`."""
        return self.status is Status.SAFE

    def __bool__(self) -> NoReturn:
        raise TypeError("a verdict is neither true nor false: use .allowed, or compare .status")

    def to_dict(self) -> dict[str, Any]:
        """The fields and `allowed`, ready for JSON; a future is null while it is not done."""
        fields = dataclasses.asdict(dataclasses.replace(self, diagnosis=None, second=None))
        if self.diagnosis is not None and self.diagnosis.done():
            fields["diagnosis"] = self.diagnosis.result().to_dict()
        if self.second is not None and self.second.done():
            fields["second"] = self.second.result().to_dict()
        fields["screened"] = [one.to_dict() for one in self.screened]
        return {"allowed": self.allowed, **fields}

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict())


_SEVERITY = {Status.SAFE: 0, Status.UNSURE: 1, Status.UNAVAILABLE: 2, Status.UNSAFE: 3}


def worse(one: Verdict, other: Verdict) -> Verdict:
    """The verdict that allows less; of two of one status the one with the higher margin."""

    def severity(verdict: Verdict) -> tuple[int, float]:
        margin = -math.inf if verdict.margin is None else verdict.margin
        return _SEVERITY[verdict.status], margin

    return max(one, other, key=severity)


@dataclass(frozen=True)
class Turn:
    """The verdicts on several calls that an agent proposes at once.

    joint: on the step that makes all of them; it can be committed. calls: one per call, the worse
    of the verdict on a step that makes this call alone, and of the joint one.
    """

    joint: Verdict
    calls: tuple[Verdict, ...]

    @property
    def allowed(self) -> bool:
        """True when every call is safe, alone and with the others."""
        return all(verdict.allowed for verdict in self.calls)

    def __bool__(self) -> NoReturn:
        raise TypeError("a turn is neither true nor false: use .allowed, or look at .calls")
