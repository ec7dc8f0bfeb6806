"""Label logits to a margin."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepguard.errors import TaxonomyError
from stepguard.taxonomy import LabelRows, labels, score

ROWS = LabelRows.of(safe=[9, 4, 9], unsafe=[7])


def logits(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_rows_are_sorted_and_single() -> None:
    assert ROWS.ids == (4, 7, 9)
    assert (ROWS.safe, ROWS.unsafe) == ((4, 9), (7,))


def test_one_spelling_each_is_the_difference_to_the_bit() -> None:
    rows = LabelRows.of(safe=[1], unsafe=[2])
    values = logits(0.1, 7.3)
    assert rows.margin(values) == float(values[1]) - float(values[0])


def test_spellings_add_their_probabilities() -> None:
    expected = 2.0 - math.log(math.exp(1.0) + math.exp(0.5))
    assert ROWS.margin(logits(1.0, 2.0, 0.5)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_gives_none(bad: float) -> None:
    assert math.isnan(ROWS.margin(logits(1.0, bad, 0.5)))


@settings(deadline=None)
@given(st.lists(st.floats(-(2**60), 2**60, width=32), min_size=3, max_size=3), st.floats(0, 1e3))
def test_more_for_unsafe_is_never_less_margin(values: list[float], more: float) -> None:
    raised = [values[0], values[1] + more, values[2]]
    assert ROWS.margin(logits(*raised)) >= ROWS.margin(logits(*values))
    assert math.isfinite(ROWS.margin(logits(*values)))


@pytest.mark.parametrize(
    ("safe", "unsafe", "text"), [([], [1], "safe"), ([1], [], "unsafe"), ([1, 2], [2], "token 2")]
)
def test_labels_that_contradict_each_other(safe: list[int], unsafe: list[int], text: str) -> None:
    with pytest.raises(TaxonomyError, match=text):
        LabelRows.of(safe, unsafe)


def test_a_wrong_number_of_logits() -> None:
    with pytest.raises(TaxonomyError, match="expected 3, got 2"):
        ROWS.margin(logits(1.0, 2.0))


@pytest.mark.parametrize("module", [labels, score])
def test_the_examples_in_the_docstrings(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
