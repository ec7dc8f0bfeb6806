"""Tries against the definition: an output that is masked to the labels, token by token."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stepguard.errors import TaxonomyError
from stepguard.taxonomy import Trie, outside, trie

Paths = dict[str, list[int]]
VOCABULARY = 12
TOKENS = st.integers(0, 4)


@st.composite
def paths(draw: st.DrawFn) -> Paths:
    """Up to 12 labels over five tokens, each with the end of a line; not all begin alike."""
    found = draw(
        st.sets(st.lists(TOKENS, min_size=1, max_size=4).map(tuple), min_size=2, max_size=12)
    )
    assume(len({path[0] for path in found}) > 1)
    return {f"label-{i}": [*path, 9] for i, path in enumerate(sorted(found))}


def logits_after(prefix: tuple[int, ...]) -> np.ndarray:
    """float32 [VOCABULARY]: those of a model that is a hash."""
    seed = [7, *(token + 1 for token in prefix)]
    return np.random.default_rng(seed).normal(0, 3, VOCABULARY).astype(np.float32)


def masked(found: Paths, name: str) -> float:
    """The product, over the tokens of a label, of its share among what labels allow there."""
    share = 1.0
    for t, token in enumerate(found[name]):
        prefix = tuple(found[name][:t])
        allowed = {path[t] for path in found.values() if tuple(path[:t]) == prefix}
        weights = {i: math.exp(float(logits_after(prefix)[i])) for i in allowed}
        share *= weights[token] / sum(weights.values())
    return share


def read(made: Trie) -> list[np.ndarray]:
    """The logits of every branch, as a forest of segments would give them."""
    prefixes: list[tuple[int, ...]] = []
    for branch in made.branches:
        above = prefixes[branch.above] if branch.above >= 0 else ()
        prefixes.append((*above, *branch.ids))
    return [
        logits_after(prefix)[list(branch.children)]
        for prefix, branch in zip(prefixes, made.branches, strict=True)
    ]


@settings(max_examples=150, deadline=None)
@given(paths())
def test_probabilities_are_those_of_the_masked_output(found: Paths) -> None:
    made = Trie.of(found)
    shares = made.probabilities(read(made))
    assert sum(shares.values()) == pytest.approx(1, abs=1e-9)
    for name, share in shares.items():
        assert share == pytest.approx(masked(found, name), abs=1e-6)


@settings(max_examples=150, deadline=None)
@given(paths())
def test_the_written_label_is_the_greedy_one(found: Paths) -> None:
    made, left, t = Trie.of(found), dict(found), 0
    while len(left) > 1:
        values = logits_after(tuple(next(iter(left.values()))[:t]))
        best = max({path[t] for path in left.values()}, key=lambda token: values[token])
        left = {name: path for name, path in left.items() if path[t] == best}
        t += 1
    written = made.written(read(made))
    assert [written] == list(left)
    shares = made.probabilities(read(made))
    if max(shares.values()) > 0.5:
        assert shares[written] == max(shares.values())


@settings(max_examples=100, deadline=None)
@given(paths())
def test_only_places_with_a_choice_are_read(found: Paths) -> None:
    made = Trie.of(found)
    prefixes = {tuple(path[:t]) for path in found.values() for t in range(len(path))}
    choices = [
        prefix
        for prefix in prefixes
        if len(
            {path[len(prefix)] for path in found.values() if tuple(path[: len(prefix)]) == prefix}
        )
        > 1
    ]
    assert len(made.branches) == len(choices)
    assert all(branch.above < index for index, branch in enumerate(made.branches))
    # Every place on the way to a choice is read once.
    assert made.tokens == len({prefix[:t] for prefix in choices for t in range(1, len(prefix) + 1)})


def test_what_cannot_be_a_trie() -> None:
    with pytest.raises(TaxonomyError, match="a and b with the same tokens"):
        Trie.of({"a": [1, 2], "b": [1, 2], "c": [3]})
    with pytest.raises(TaxonomyError, match="a and b with the same tokens"):
        Trie.of({"a": [1], "b": [1, 2], "c": [3]})
    for few in ({}, {"a": [1]}, {"a": [1, 2], "b": [1, 3]}):
        with pytest.raises(TaxonomyError, match="at least two, which begin differently"):
            Trie.of(few)


def test_the_share_outside() -> None:
    every = np.log(np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    assert outside(every[[1, 3]], every) == pytest.approx(0.4, abs=1e-6)
    assert outside(every, every) == 0.0
    tiny = np.array([0.0, -60.0], np.float32)
    assert outside(tiny[:1], tiny) == pytest.approx(math.exp(-60), abs=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_gives_none(bad: float) -> None:
    made = Trie.of({"a": [1], "b": [2]})
    values = np.array([1.0, bad], np.float32)
    assert all(map(math.isnan, made.probabilities([values]).values()))
    assert math.isnan(outside(values[:1], values))


def test_examples() -> None:
    assert doctest.testmod(trie).failed == 0
