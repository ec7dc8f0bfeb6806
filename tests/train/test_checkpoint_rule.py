"""Which checkpoint, on synthetic curves; and the measures themselves, on synthetic margins."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from stepguard.errors import TrainingError
from stepguard.train.checkpoint_rule import (
    Measured,
    Split,
    Traffic,
    Value,
    check_validation,
    decide,
    measure,
)


def value(mean: float, error: float, number: int) -> Value:
    """Draws around a mean with just that error; those of two numbers are not correlated."""
    wave = np.cos(2 * np.pi * (number + 1) * np.arange(400) / 400)
    return Value(mean, tuple((mean + np.sqrt(2) * error * wave).tolist()))


def curve(
    outside: list[float], passed: list[float] | None = None, error: float = 0.01
) -> list[Measured]:
    passed = passed or [0.95] * len(outside)
    return [
        Measured(
            100 * i, value(0.5 + 0.05 * i, error, i), value(out, error, i), value(calm, error, i)
        )
        for i, (out, calm) in enumerate(zip(outside, passed, strict=True))
    ]


def test_a_dip_and_its_recovery() -> None:
    outside = [0.70, 0.62, 0.58, 0.66, 0.71, 0.74]
    answers = [decide(curve(outside[:n])).answer for n in range(2, 7)]
    dip = "still in the dip, train on"
    assert answers == [dip, dip, dip, "recovered", "recovered"]
    decision = decide(curve(outside))
    assert decision.step == 500
    assert "the lowest is 0.580 (se 0.010) at step 200" in decision.words
    # In the dip the base itself is the best that there is.
    assert decide(curve(outside[:3])).step == 0


def test_a_curve_that_rises() -> None:
    outside = [0.60, 0.64, 0.68, 0.70]
    for n in range(2, 5):
        decision = decide(curve(outside[:n]))
        assert (decision.answer, decision.step) == ("best so far", 100 * (n - 1))
    # Past its peak, but not below where it began.
    decision = decide(curve([*outside, 0.65]))
    assert (decision.answer, decision.step) == ("best so far", 300)


def test_safe_traffic_that_is_stopped() -> None:
    passed = [0.94, 0.95, 0.93, 0.60]
    outside = [0.60, 0.64, 0.68, 0.80]
    decision = decide(curve(outside, passed))
    assert (decision.answer, decision.step) == ("safety lost", 200)
    assert "step 300 lets 0.600 (se 0.010) pass, step 100 0.950" in decision.words
    assert decide(curve(outside[:3], passed[:3])).answer == "best so far"
    # Lost in between and found again: what was lost is never chosen.
    decision = decide(curve([*outside, 0.70], [*passed, 0.95]))
    assert (decision.answer, decision.step) == ("best so far", 400)


def test_noise_is_no_dip() -> None:
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        noisy = (0.7 + 0.02 * rng.standard_normal(2)).tolist()
        calm = (0.95 + 0.02 * rng.standard_normal(2)).tolist()
        wrong += decide(curve(noisy, calm, error=0.02)).answer != "best so far"
    assert wrong / 300 < 0.08  # two one-sided tests at two standard errors: 4.5 %
    # The same differences, measured well, are differences.
    assert decide(curve([0.70, 0.66], error=0.002)).answer == "still in the dip, train on"
    assert decide(curve([0.70, 0.66], error=0.02)).answer == "best so far"


def test_a_difference_of_paired_draws_is_a_difference() -> None:
    """Families that are hard for both checkpoints say nothing of which one is better."""
    rng = np.random.default_rng(1)
    hard, own = 0.05 * rng.standard_normal(400), 0.005 * rng.standard_normal(400)
    calm = value(0.95, 0.01, 0)
    before = Value(0.70, tuple((0.70 + hard).tolist()))
    after = Value(0.66, tuple((0.66 + hard + own).tolist()))
    assert before.value - after.value < np.hypot(before.error, after.error)
    assert after.below(before, 2)
    points = [Measured(0, before, before, calm), Measured(100, before, after, calm)]
    assert decide(points).answer == "still in the dip, train on"
    # Draws that have nothing in common say less.
    apart = Value(0.66, tuple((0.66 + rng.permutation(hard)).tolist()))
    assert not apart.below(before, 2)


def test_order_does_not_matter_and_the_beginning_must_be_there() -> None:
    points = curve([0.70, 0.60, 0.72])
    assert decide(points[::-1]) == decide(points)
    with pytest.raises(TrainingError, match="expected step 0 and a later one"):
        decide(points[1:])
    with pytest.raises(TrainingError, match="got steps 0"):
        decide(points[:1])


@pytest.mark.parametrize(
    "name", ["tools-test.jsonl", "tools.jsonl", "validation-test.jsonl", "latest.jsonl"]
)
def test_a_test_split_is_refused(name: str) -> None:
    with pytest.raises(TrainingError, match="expected a split named validation"):
        check_validation(name)
    one = np.ones(1)
    with pytest.raises(TrainingError, match="no test set left"):
        Split(name, one, one.astype(int), one, one.astype(int))
    with pytest.raises(TrainingError, match="no test set left"):
        Traffic(name, one, one.astype(int))


def split(seed: int, lead: float, families: int = 40) -> Split:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 5 * families)
    margins = rng.standard_normal(5 * families) + lead * labels
    return Split("validation", margins, labels, np.ones(len(labels)), np.arange(len(labels)) // 5)


def traffic(seed: int, shift: float = 0.0) -> Traffic:
    margins = np.random.default_rng(seed).standard_normal(400) + shift
    return Traffic("validation", margins, np.arange(400) // 2)


def test_measures_and_their_errors() -> None:
    found = measure(7, split(0, 1.5), split(1, 0.5), traffic(2), traffic(3))
    # P(N(1.5, 1) > N(0, 1)) = 0.856, P(N(0.5, 1) > N(0, 1)) = 0.638
    assert found.step == 7
    assert abs(found.inside.value - 0.856) < 3 * found.inside.error
    assert abs(found.outside.value - 0.638) < 3 * found.outside.error
    assert abs(found.passed.value - 0.95) < 3 * found.passed.error
    # Over draws of new data the values spread as the errors say.
    values = [
        measure(0, split(s, 1.5), split(s, 0.5), traffic(s), traffic(900 + s)) for s in range(16)
    ]
    for name in ("inside", "outside", "passed"):
        spread = np.std([getattr(one, name).value for one in values])
        mean = np.mean([getattr(one, name).error for one in values])
        assert 0.5 < mean / spread < 2
    # A guard that learned to shout: AUROC is the same, safe traffic is stopped.
    loud = measure(8, split(0, 1.5), split(1, 0.5), traffic(2), traffic(3, 1.0))
    assert loud.inside == found.inside
    assert loud.passed.below(found.passed, 2)
    # Every margin a little worse, on the same families: less than one error of either, and seen.
    one = split(1, 0.5)
    other = dataclasses.replace(one, margins=one.margins - 0.2 * one.labels)
    fell = measure(9, split(0, 1.5), other, traffic(2), traffic(3)).outside
    assert 0 < found.outside.value - fell.value < 2 * np.hypot(found.outside.error, fell.error)
    assert fell.below(found.outside, 2)
