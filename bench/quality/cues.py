"""Judges that understand nothing: the majority, the position, and the bag of words.

Position and words are logistic regressions that judge each family by a model that never saw it
(StratifiedGroupKFold, or one source left out), fitted once on labelled actions, a trajectory's
weights adding up to 1, and once on whole trajectories.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from stepguard.bench.quality.layout import UNKNOWN, Judged, Layout
from stepguard.errors import StepguardError
from stepguard.train.points import Floats, Ints

MAJORITY, POSITION, WORDS, ACROSS = "majority", "position only", "TF-IDF", "TF-IDF across"
SAME = "TF-IDF same"  # fitted on what the guard learned from, and on nothing else
_FOLDS = 5
_FEATURES = 1 << 18  # of the hashed bag of words
_POSITION_C, _WORDS_C = 1.0, 10.0  # inverse strengths of the penalty on the weights

Folds = list[tuple[Ints, Ints]]
Progress = Callable[[int, int], None]


def judge_by_cues(
    layout: Layout,
    wanted: Ints,
    progress: Progress | None = None,
    learned: Collection[str] | None = None,
) -> tuple[list[Judged], dict[str, str]]:
    """All cues on all records, and why those that could not be fitted are missing.

    wanted: int64, indices of the records that are to be judged; only folds that hold one of them
    are fitted, so that the others are NaN. All records serve to fit: words cost little, and the
    more of them there are the higher is what a guard has to reach. learned: SHA-256 of the records
    that a guard learned from; one more bag of words is fitted on those alone.
    """
    found, missing = [_majority(layout, wanted)], {}
    words = _Words(layout)
    ways: list[tuple[str, Callable[[], Folds], Any, Any]] = [
        (POSITION, lambda: _by_family(layout), _position(layout), _of_position),
        (WORDS, lambda: _by_family(layout), words.features, _of_words),
        (ACROSS, lambda: _by_source(layout), words.features, _of_words),
    ]
    if learned is not None:
        ways.append((SAME, lambda: _apart(layout, learned, wanted), words.features, _of_words))
    for done, (name, folds, features, model) in enumerate(ways):
        if progress is not None:
            progress(done, len(ways))
        try:
            found.append(_out_of_fold(name, layout, wanted, folds(), features, model))
        except StepguardError as error:
            missing[name] = str(error)
    if progress is not None:
        progress(len(ways), len(ways))
    return found, missing


def _majority(layout: Layout, wanted: Ints) -> Judged:
    """One score for all: the share of unsafe ones among the records that are judged."""
    inside = np.isin(layout.record, wanted) & (layout.unsafe != UNKNOWN)
    action, whole = layout.unsafe[inside].mean(), layout.label[wanted].mean()
    constants = [np.full(len(layout.record), action), np.full(len(layout.label), whole)]
    # What is unsafe is then everything or nothing, for actions as the more of them are.
    return Judged(MAJORITY, "cue", constants[0], constants[0], constants[1], constants[1])


def _position(layout: Layout) -> tuple[Any, Any]:
    """log(1 + steps) and log(1 + actions) so far; of whole trajectories: all there are.

    Sparse, so that equal rows get equal margins: a dense product may round them differently.
    """
    first = np.searchsorted(layout.record, layout.record)
    actions = np.arange(len(layout.record)) - first
    steps = np.array([len(record.trajectory.steps) for record in layout.records])
    counts = np.bincount(layout.record, minlength=len(layout.records))
    return (
        csr_matrix(np.log1p(np.stack([layout.step, actions], axis=1))),
        csr_matrix(np.log1p(np.stack([steps, counts], axis=1))),
    )


class _Words:
    """Counts of words: of the text up to and with each action, and of whole trajectories."""

    def __init__(self, layout: Layout) -> None:
        texts: list[str] = []
        begins: list[int] = []
        for record in layout.records:
            begins.append(len(texts))
            steps = record.trajectory.steps
            texts.append(record.trajectory.profile)
            texts += ["\n".join(text.python for _, text in step.fields) for step in steps]
        hashed = HashingVectorizer(n_features=_FEATURES, alternate_sign=False, norm=None)
        counts = csr_matrix(hashed.transform(texts))
        counts = counts[:, np.unique(counts.indices)]  # most places of the hash are empty
        begin = np.array(begins, np.int64)
        ends = np.append(begin[1:], len(texts))
        upto = begin[layout.record] + layout.step + 2  # the profile, and the step itself
        self.features = (_sums(begin[layout.record], upto, counts), _sums(begin, ends, counts))


def _sums(begin: Ints, end: Ints, rows: Any) -> Any:
    """Sparse [n, features]: the sum of rows begin[i] up to end[i]."""
    lengths = end - begin
    columns = np.concatenate([np.arange(b, e) for b, e in zip(begin, end, strict=True)])
    starts = np.append(0, np.cumsum(lengths))
    picks = csr_matrix((np.ones(len(columns)), columns, starts), (len(begin), rows.shape[0]))
    return csr_matrix(picks @ rows)


def _of_position() -> Any:
    return _regression(_POSITION_C)


def _of_words() -> Any:
    return make_pipeline(TfidfTransformer(sublinear_tf=True), _regression(_WORDS_C))


def _regression(strength: float) -> Any:
    # liblinear: ten times faster than the usual solver where there are more words than texts.
    return LogisticRegression(C=strength, solver="liblinear", intercept_scaling=10, random_state=0)


def _by_family(layout: Layout) -> Folds:
    families = len(layout.families)
    if families < 2:
        raise _too_few("families", families)
    # As many unsafe ones of each source in every fold as can be: a fold that is rich in them leaves
    # a model behind that expects few, and out of fold that ranks everything the wrong way round.
    kinds = 2 * layout.source + layout.label
    split = StratifiedGroupKFold(min(_FOLDS, families))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fewer of a kind than folds: as it can be
        try:
            return list(split.split(kinds, kinds, layout.family))
        except ValueError as error:  # fewer records of every kind than folds
            raise _too_few("records of each kind", len(kinds)) from error


def _by_source(layout: Layout) -> Folds:
    if len(layout.sources) < 2:
        raise _too_few("sources", len(layout.sources))
    return list(LeaveOneGroupOut().split(layout.label, layout.label, layout.source))


def _apart(layout: Layout, learned: Collection[str], wanted: Ints) -> Folds:
    known = np.array([record.sha256 in learned for record in layout.records])
    if known.sum() < len(learned):
        expected, got = f"all {len(learned)} records that were learned from", f"{known.sum()}"
        raise StepguardError("data", expected=expected, got=got, fix="Give all files of the run.")
    both = np.intersect1d(layout.family[known], layout.family[wanted])
    if len(both) > 0:
        expected = "families that were not learned from"
        raise StepguardError("judged records", expected=expected, got=f"{len(both)} that were")
    return [(np.flatnonzero(known), wanted)]


def _too_few(what: str, count: int) -> StepguardError:
    return StepguardError(
        what, expected="at least 2, one to fit on and one to judge", got=f"{count}"
    )


def _out_of_fold(
    name: str, layout: Layout, wanted: Ints, folds: Folds, features: tuple[Any, Any], model: Any
) -> Judged:
    sizes = len(layout.record), len(layout.label)
    margins, scores = ([np.full(size, np.nan) for size in sizes] for _ in range(2))
    for train, test in folds:
        test = np.intersect1d(test, wanted)
        if len(test) == 0:
            continue
        known = layout.unsafe != UNKNOWN
        places = (
            (
                np.flatnonzero(np.isin(layout.record, train) & known),
                np.flatnonzero(np.isin(layout.record, test)),
                layout.unsafe,
            ),
            (train, test, layout.label),
        )
        for level, (rows, judged, labels) in enumerate(places):
            fitted = _fit(
                model(), features[level][rows], labels[rows], _weights(layout, rows, level)
            )
            margins[level][judged] = fitted.decision_function(features[level][judged])
            scores[level][judged] = fitted.predict_proba(features[level][judged])[:, 1]
    return Judged(name, "cue", margins[0], scores[0], margins[1], scores[1])


def _weights(layout: Layout, rows: Ints, level: int) -> Floats:
    if level == 1:
        return np.ones(len(rows))
    records = layout.record[rows]
    return 1 / np.bincount(records)[records]


def _fit(model: Any, features: Any, labels: Ints, weights: Floats) -> Any:
    if len(np.unique(labels)) < 2:
        raise StepguardError(
            "labels", expected="safe and unsafe ones on both sides of every split", got="one kind"
        )
    last = f"{model.steps[-1][0]}__" if hasattr(model, "steps") else ""
    return model.fit(features, labels, **{f"{last}sample_weight": weights})
