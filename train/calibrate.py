"""A guard's calibration: map, thresholds, and what they are worth on the data they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from stepguard.errors import TrajectoryError
from stepguard.manifest import CalibrationEntry, Knot, Promise
from stepguard.train.control import RateName, Rule, Threshold, find_threshold
from stepguard.train.maps import METHODS, Fit, Method, choose
from stepguard.train.metrics import Bin, Quality, bins, quality
from stepguard.train.points import Floats, Units, label_points, safe_actions, whole_units
from stepguard.train.records import Record, digest_of
from stepguard.train.scores import Scored

_ACTIVATIONS: Final[dict[str, Literal["int8", "fp32", "bf16"]]] = {
    "int8": "int8",
    "fp32": "fp32",
    "bf16": "bf16",
}


@dataclass(frozen=True)
class Target:
    """What is to be promised."""

    rate: RateName
    target: float
    rule: Rule = "fixed-sequence"
    delta: float = 0.1


@dataclass(frozen=True)
class Rates:
    """Errors on the calibration data where only unsafe verdicts, or all that are not safe, stop.

    missed: share of unsafe trajectories; false_alarms: share of safe ones; per_100_actions: false
    alarms at actions that are known to be safe.
    """

    missed: float
    false_alarms: float
    per_100_actions: float


@dataclass(frozen=True)
class Report:
    """All that `stepguard calibrate` prints. before: sigmoid of the margin; after: out of fold."""

    records: int
    unread: int
    families: int
    points: int
    method: str
    losses: dict[Method, float]
    before: Quality
    after: Quality
    bins_before: tuple[Bin, ...]
    bins_after: tuple[Bin, ...]
    threshold: Threshold
    target: Target
    low: float
    high: float
    not_safe: Rates
    unsafe: Rates

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def calibrate(
    records: Sequence[Record],
    scored: Sequence[Scored],
    target: Target,
    method: Method | None = None,
) -> tuple[Fit, Report]:
    """Fits map and thresholds; `scored` are the margins of the records, in their order.

    Below `low` a verdict is safe, from `high` on unsafe, between them unsure. A target for missed
    trajectories sets `low`, and `high` is then the score of an even chance, or `low` where that is
    larger; a target for false alarms sets `high` in the same way.

    Raises:
        TaxonomyError: the data cannot carry it (one label, one family, an unreachable target, or
            margins that do not rise with the risk).
        TrajectoryError: no record could be read.
    """
    points, units = label_points(records, scored), whole_units(records, scored)
    if len(units.margins) == 0:
        got = f"none of {len(records)}; the first: {scored[0].lost}" if scored else "none"
        raise TrajectoryError("records", expected="records that the guard can read", got=got)
    threshold = find_threshold(
        units, target.rate, target.target, rule=target.rule, delta=target.delta
    )
    fitted, held_out, losses = choose(points, METHODS if method is None else (method,))
    score = float(fitted.scores(np.array([threshold.margin]))[0])
    low, high = (score, max(score, 0.5)) if target.rate == "fnr" else (min(score, 0.5), score)
    before = 1 / (1 + np.exp(-np.clip(points.margins, -500, 500)))
    actions = safe_actions(records, scored)
    report = Report(
        records=len(records),
        unread=sum(1 for one in scored if one.lost),
        families=len(set(points.families.tolist())),
        points=len(points.margins),
        method=fitted.method,
        losses=losses,
        before=quality(before, points.unsafe, points.weights),
        after=quality(held_out, points.unsafe, points.weights),
        bins_before=tuple(bins(before, points.unsafe, points.weights)),
        bins_after=tuple(bins(held_out, points.unsafe, points.weights)),
        threshold=threshold,
        target=target,
        low=low,
        high=high,
        not_safe=_rates(fitted, units, actions, low),
        unsafe=_rates(fitted, units, actions, high),
    )
    return fitted, report


def entry(
    fitted: Fit, report: Report, key: dict[str, str], records: Sequence[Record]
) -> CalibrationEntry:
    """What goes into the manifest; `key` is that of the guard that scored."""
    target = report.target
    return CalibrationEntry(
        mode=key["mode"],
        model=key["model"],
        prompt=key["prompt"],
        kv="fp16" if key["kv"] == "fp16" else "fp32",
        activations=_ACTIVATIONS[key["activations"]],
        method=fitted.method,
        scale=fitted.scale,
        bias=fitted.bias,
        low=report.low,
        high=report.high,
        knots=tuple(Knot(*knot) for knot in fitted.knots),
        promise=Promise(
            rate=target.rate,
            target=target.target,
            rule=target.rule,
            delta=target.delta if target.rule == "fixed-sequence" else None,
            families=report.threshold.families,
            data=digest_of(records),
        ),
    )


def _rates(fitted: Fit, units: Units, actions: Floats, score: float) -> Rates:
    stops = fitted.scores(units.margins) >= score
    unsafe = units.unsafe == 1
    alarms = fitted.scores(actions) >= score
    return Rates(
        missed=_mean(~stops[unsafe]),
        false_alarms=_mean(stops[~unsafe]),
        per_100_actions=100 * _mean(alarms),
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
