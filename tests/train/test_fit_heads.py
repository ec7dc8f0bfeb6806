"""Fitting heads on rows with a planted direction: scikit-learn's numbers, and honest ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from stepguard.errors import TaxonomyError
from stepguard.train.examples import Examples
from stepguard.train.heads import family_folds, fit_head, held_out
from stepguard.train.probes import fit

WIDTH, SOURCES, FAMILIES, EACH = 24, 3, 8, 6


def examples(seed: int = 0, signal: float = 1.5, labels: int = 2) -> Examples:
    """A direction that all sources share, one that each has for itself, and growing positions."""
    rng = np.random.default_rng(seed)
    n = SOURCES * FAMILIES * EACH
    families = np.repeat(np.arange(SOURCES * FAMILIES), EACH)
    found = rng.integers(0, labels, n)
    rows = rng.normal(size=(n, WIDTH)) * np.exp(rng.normal(size=WIDTH)) + 5
    rows[:, :labels] += signal * np.eye(labels)[found] * rows.std(axis=0)[:labels] * 2
    sources = families // FAMILIES
    rows[np.arange(n), 10 + sources] += 4 * found
    return Examples(
        features=rows.astype(np.float32).astype(np.float64),
        labels=found,
        weights=rng.random(n),
        families=families,
        sources=sources,
        steps=rng.integers(1, 6, n) + found,
        names=tuple("abcdef"[:labels]),
        source_names=("one", "two", "three"),
    )


@pytest.mark.parametrize("labels", [2, 4])
def test_a_logistic_head_is_scikit_learns(labels: int) -> None:
    given = examples(labels=labels)
    scaler = StandardScaler().fit(given.features, sample_weight=given.balanced)
    model = LogisticRegression(C=0.1, tol=1e-6, max_iter=3000)
    rows = scaler.transform(given.features)
    model.fit(rows, given.labels, sample_weight=given.balanced)
    expected = model.decision_function(rows).reshape(len(rows), -1)
    found = fit("logistic", given, 0.1).outputs(given.features.astype(np.float32))
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("labels", [2, 4])
def test_a_head_of_two_layers_is_scikit_learns(labels: int) -> None:
    given = examples(labels=labels)
    scaler = StandardScaler().fit(given.features, sample_weight=given.balanced)
    model = MLPClassifier((32,), solver="lbfgs", alpha=10.0, max_iter=300, random_state=0)
    rows = scaler.transform(given.features)
    model.fit(rows, given.labels, sample_weight=given.balanced)
    found = fit("mlp", given, 0.1).outputs(given.features.astype(np.float32))
    if labels == 2:
        probability = 1 / (1 + np.exp(-found[:, 0]))
        assert np.abs(probability - model.predict_proba(rows)[:, 1]).max() < 1e-6
    else:
        powers = np.exp(found - found.max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        assert np.abs(shares - model.predict_proba(rows)).max() < 1e-6


def test_labels_weigh_alike() -> None:
    given = examples()
    sums = np.bincount(given.labels, given.balanced)
    assert sums[0] == pytest.approx(sums[1])
    assert sums.sum() == pytest.approx(given.weights.sum())


def test_the_same_to_the_digit() -> None:
    (one, report), (other, again) = fit_head(examples()), fit_head(examples())
    assert one.to_bytes() == other.to_bytes()
    assert report == again
    two = [fit("mlp", examples(), 0.1).to_bytes() for _ in range(2)]
    assert two[0] == two[1]


def test_a_planted_direction_is_found_across_sources() -> None:
    _, report = fit_head(examples())
    assert [source.name for source in report.sources] == ["one", "two", "three"]
    mean = report.mean
    assert mean.across.value is not None
    assert mean.across.value > 0.85
    assert mean.matched.value is not None
    assert mean.matched.value > 0.8
    assert mean.position.value is not None
    assert 0.55 < mean.position.value < 0.8  # unsafe ones come later, as planted
    assert mean.gain.value == pytest.approx(mean.across.value - mean.position.value)
    assert mean.across.low is not None
    assert mean.across.low < mean.across.value


def test_what_only_one_source_has_is_not_taken_for_knowledge() -> None:
    """Each source has a sign of its own: families of it can be told, other sources not."""
    _, report = fit_head(examples(signal=0.0))
    assert report.mean.within.value is not None
    assert report.mean.within.value > 0.68
    assert report.mean.across.value is not None
    assert report.mean.across.value < 0.6


def test_nobody_is_judged_by_a_head_that_saw_their_family() -> None:
    given = examples()
    seen: list[set[int]] = []

    def spy(part: Examples) -> object:
        seen.append(set(part.families.tolist()))
        return fit("logistic", part, 0.1)

    outputs = held_out(given, family_folds(given), spy)  # type: ignore[arg-type]
    assert np.isfinite(outputs).all()
    assert len(seen) == 5
    for fitted, (_, judged) in zip(seen, family_folds(given), strict=True):
        assert not fitted & set(given.families[judged].tolist())


def test_one_source_has_nothing_across() -> None:
    given = dataclasses.replace(examples(), sources=np.zeros(SOURCES * FAMILIES * EACH, np.int64))
    _, report = fit_head(dataclasses.replace(given, source_names=("one",)))
    assert report.mean.across.value is None
    assert report.mean.within.value is not None


def test_a_dimension_with_labels_that_a_source_lacks() -> None:
    given = examples(labels=4)
    given = given.at((given.sources != 1) | (given.labels != 3))
    _, report = fit_head(given, "risk_source")
    assert report.mean.across.value is not None
    assert report.mean.across.value > 0.6
    assert report.mean.matched.value is None
    where = next(source for source in report.sources if source.name == "two")
    assert (where.labels, report.mean.labels) == (3, 4)


def test_a_label_that_only_the_held_out_source_has_cannot_be_right() -> None:
    given = examples(labels=3)
    given = given.at((given.labels == 2) == (given.sources == 1))
    _, report = fit_head(given, "risk_source")
    assert [source.across.value for source in report.sources if source.name == "two"] == [0.0]


def test_one_family_cannot_be_judged() -> None:
    given = dataclasses.replace(examples(), families=np.zeros(SOURCES * FAMILIES * EACH, np.int64))
    with pytest.raises(TaxonomyError, match="families: expected at least two, got 1"):
        fit_head(given)
