"""Margin to score and status."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepguard.errors import TaxonomyError
from stepguard.taxonomy import Calibration, Status, judge

FITTED = Calibration(scale=0.5, bias=-1.0, low=0.3, high=0.7)


def test_uncalibrated() -> None:
    assert judge(0.0) == (Status.UNSAFE, 0.5)
    assert judge(-1e-9)[0] is Status.SAFE
    assert judge(1e5) == (Status.UNSAFE, 1.0)
    assert judge(-1e5) == (Status.SAFE, 0.0)


@pytest.mark.parametrize(
    ("margin", "status"),
    [(-5.0, Status.SAFE), (2.0, Status.UNSURE), (3.6, Status.UNSURE), (3.7, Status.UNSAFE)],
)
def test_calibrated(margin: float, status: Status) -> None:
    found, score = judge(margin, FITTED)
    assert found is status
    assert score == pytest.approx(1 / (1 + math.exp(1.0 - 0.5 * margin)))


def test_an_empty_band_has_no_unsure() -> None:
    edge = Calibration(scale=1.0, bias=0.0, low=0.5, high=0.5)
    assert judge(0.0, edge)[0] is Status.UNSAFE
    assert judge(-1e-9, edge)[0] is Status.SAFE


@settings(deadline=None)
@given(st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_the_order_of_margins_is_that_of_scores(margin: float, more: float) -> None:
    for calibration in (None, FITTED):
        low, high = judge(margin, calibration)[1], judge(margin + more, calibration)[1]
        assert 0 <= low <= high <= 1


@pytest.mark.parametrize("margin", [math.nan, math.inf])
def test_a_margin_that_is_no_number(margin: float) -> None:
    with pytest.raises(TaxonomyError):
        judge(margin)


@pytest.mark.parametrize(
    "values", [(0, 0, 0.1, 0.2), (math.nan, 0, 0.1, 0.2), (1, 0, 0.5, 0.4), (1, 0, -0.1, 0.4)]
)
def test_calibrations_that_are_none(values: tuple[float, ...]) -> None:
    with pytest.raises(TaxonomyError):
        Calibration(*values)
