"""Which checkpoint of a run is worth shipping, from three validation measures of each.

While a guard learns one kind of data, its ranking of other kinds can fall before it recovers, so
that the first checkpoints understate the run. The rule says where a run stands:

    safety lost               the newest checkpoint stops safe traffic that an earlier one let pass
    still in the dip, train on  out of domain the newest is worse than the run began
    recovered                 it was worse in between, and is not any more
    best so far               it never was

Differences count when they are larger than `errors` standard errors of the difference. All
checkpoints are measured on the same records and on the same draws of their families, so a
difference is taken draw by draw: what makes a draw hard for both cancels. The rule never sees a
test set: it takes measures of validation splits only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from stepguard.errors import TrainingError
from stepguard.train.points import Floats, Ints
from stepguard.train.ranking import auroc, draw_weights

Answer = Literal["recovered", "still in the dip, train on", "best so far", "safety lost"]
_WORDS = re.compile(r"[^a-z]+")


@dataclass(frozen=True)
class Value:
    """A measure, and the same on draws of the families; those of a run's checkpoints are paired."""

    value: float
    draws: tuple[float, ...]

    @property
    def error(self) -> float:
        """The standard error."""
        return float(np.nanstd(self.draws))

    def below(self, other: Value, errors: float) -> bool:
        """Whether it is lower by more than so many standard errors of the difference."""
        error = np.nanstd(np.subtract(other.draws, self.draws))
        return other.value - self.value > errors * float(error)

    def to_dict(self) -> dict[str, float]:
        """Ready for JSON, without the draws."""
        return {"value": self.value, "error": self.error}


@dataclass(frozen=True)
class Measured:
    """A checkpoint behind `step` steps; step 0 is the model before the run.

    inside, outside: AUROC over labelled actions in domain, and on sources that were held out.
    passed: the share of safe-only trajectories that it lets pass at a threshold that lets 95 % of
    the safe ones in domain pass.
    """

    step: int
    inside: Value
    outside: Value
    passed: Value

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, without the draws."""
        values = {name: getattr(self, name).to_dict() for name in ("inside", "outside", "passed")}
        return {"step": self.step, **values}


@dataclass(frozen=True)
class Decision:
    """answer: of the newest checkpoint. step: the one to ship if it ended here: the highest outside
    among those that lost no safety, of equals the later one. words: what it was decided by."""

    answer: Answer
    step: int
    words: str


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled actions of a validation split: margins, labels, weights and families, [n].

    Raises TrainingError for a name that is not that of a validation split.
    """

    name: str
    margins: Floats
    labels: Ints
    weights: Floats
    families: Ints

    def __post_init__(self) -> None:
        check_validation(self.name)


@dataclass(frozen=True, eq=False)
class Traffic:
    """Safe trajectories of a validation split: the largest margin and the family of each, [m].

    Raises TrainingError for a name that is not that of a validation split.
    """

    name: str
    margins: Floats
    families: Ints

    def __post_init__(self) -> None:
        check_validation(self.name)


def check_validation(name: str) -> None:
    """Raises TrainingError unless a split's name says that it is one for validation.

    >>> check_validation("tools-validation.jsonl")
    """
    words = set(_WORDS.split(name.lower()))
    if not words & {"validation", "val", "valid", "dev"} or words & {"test", "tests", "testing"}:
        raise TrainingError(
            f"split {name}",
            expected="a split named validation",
            got="another",
            fix="A checkpoint that is chosen on a test set has no test set left: give a validation "
            "split, with the word in its file's name.",
        )


def decide(curve: Sequence[Measured], errors: float = 2.0) -> Decision:
    """Where a run stands.

    Raises:
        TrainingError: fewer than two checkpoints, or none from before the training.
    """
    curve = sorted(curve, key=lambda one: one.step)
    if len(curve) < 2 or curve[0].step != 0:
        got = ", ".join(str(one.step) for one in curve) or "none"
        raise TrainingError("checkpoints", expected="step 0 and a later one", got=f"steps {got}")
    start, newest = curve[0], curve[-1]
    holds = [one for one in curve if not _unsafe(one, curve, errors)]
    best = max(holds, key=lambda one: (one.outside.value, one.step))
    lowest = min(curve[1:], key=lambda one: one.outside.value)
    if newest not in holds:
        top = _safest(newest, curve)
        words = (
            f"of safe-only traffic step {newest.step} lets {_text(newest.passed)} pass, step "
            f"{top.step} {_text(top.passed)}"
        )
        return Decision("safety lost", best.step, words)
    words = (
        f"out of domain step 0 has {_text(start.outside)}, the lowest is {_text(lowest.outside)} "
        f"at step {lowest.step}, step {newest.step} has {_text(newest.outside)}"
    )
    if newest.outside.below(start.outside, errors):
        return Decision("still in the dip, train on", best.step, words)
    dipped = lowest.outside.below(start.outside, errors)
    return Decision("recovered" if dipped else "best so far", best.step, words)


def measure(step: int, inside: Split, outside: Split, calm: Traffic, loud: Traffic) -> Measured:
    """From margins. calm: the safe trajectories in domain, which set the threshold; loud: those of
    safe-only traffic.

    Standard errors are those of 400 draws of the families; for `passed` of both sets of them, since
    the threshold is drawn, too.
    """
    return Measured(step, _auroc(inside), _auroc(outside), _passed(calm, loud))


def _auroc(split: Split) -> Value:
    drawn = draw_weights(split.weights, split.families, seed=0)
    draws = auroc(split.margins, split.labels, drawn)
    value = auroc(split.margins, split.labels, split.weights)
    return Value(float(value), tuple(draws.tolist()))


def _passed(calm: Traffic, loud: Traffic) -> Value:
    one, other = np.ones(len(calm.margins)), np.ones(len(loud.margins))
    value = _share(_threshold(calm.margins, one), loud.margins, other)
    draws = [
        _share(_threshold(calm.margins, a), loud.margins, b)
        for a, b in zip(
            draw_weights(one, calm.families, seed=1),
            draw_weights(other, loud.families, seed=2),
            strict=True,
        )
    ]
    return Value(value, tuple(draws))


def _threshold(margins: Floats, weights: Floats) -> float:
    """The lowest margin that at least 95 % of the weight is at or below."""
    order = np.argsort(margins, kind="stable")
    reached = np.cumsum(weights[order]) >= 0.95 * weights.sum() - 1e-9
    return float(margins[order][int(np.argmax(reached))])


def _share(threshold: float, margins: Floats, weights: Floats) -> float:
    return float(weights[margins <= threshold].sum() / weights.sum())


def _safest(one: Measured, curve: Sequence[Measured]) -> Measured:
    """The earlier checkpoint that lets most of the safe-only traffic pass."""
    earlier = [other for other in curve if other.step < one.step]
    return max(earlier, key=lambda other: other.passed.value, default=one)


def _unsafe(one: Measured, curve: Sequence[Measured], errors: float) -> bool:
    return one.passed.below(_safest(one, curve).passed, errors)


def _text(value: Value) -> str:
    return f"{value.value:.3f} (se {value.error:.3f})"
