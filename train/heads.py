"""A head for a guard, chosen and judged across sources, beside what positions alone say.

Every number is of examples that the head was not fitted on. `within`: families were held out, the
other families of the same source were not. `across`: the whole source was, and the strength was
chosen without it, by leaving out each of the remaining sources in turn. Means over sources weigh
them alike, since each stands for a kind of data that the head has never seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold

from stepguard.errors import TaxonomyError
from stepguard.heads import Head
from stepguard.manifest import HeadEntry, Target
from stepguard.train.examples import Examples
from stepguard.train.kept import Progress
from stepguard.train.points import Floats, Ints
from stepguard.train.probes import STRENGTHS, Kind, fit
from stepguard.train.ranking import (
    Interval,
    auroc,
    draw_weights,
    interval,
    matched_auroc,
    recall,
)
from stepguard.train.records import Record, digest_of

_FOLDS = 5
_MEASURED = ("within", "across", "position", "gain", "matched_within", "matched")
# outputs float64 [n, out], labels, weights [..., n], steps -> how good they are, [...]; NaN where
# that has no value
Measure = Callable[[Floats, Ints, Floats, Ints], Floats]
Fold = tuple[np.ndarray, np.ndarray]  # masks: fitted on, judged on
_Fit = Callable[[Examples], Head]
_Found = dict[str, tuple[float, Floats]]  # a value, and its draws: float64 [draws]


@dataclass(frozen=True)
class SourceReport:
    """One source, or the mean of all. The measure of a verdict is the AUROC over labelled prefixes,
    of a dimension the mean share of right answers over its labels; trajectories weigh alike.

    position: across sources, of the same fit on nothing but the index of the step. gain: across
    minus position. matched, matched_within: across and within, over pairs of prefixes at the same
    step (of a verdict).
    """

    name: str
    families: int
    prefixes: int
    labels: int
    within: Interval
    across: Interval
    position: Interval
    gain: Interval
    matched_within: Interval
    matched: Interval


@dataclass(frozen=True)
class HeadReport:
    """All that `stepguard head fit` prints. chosen: the mean over held-out parts by strength."""

    target: Target
    kind: Kind
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    strength: float
    chosen: dict[float, float]
    families: int
    sources: tuple[SourceReport, ...]
    mean: SourceReport

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def fit_head(
    examples: Examples,
    target: Target = "verdict",
    kind: Kind = "logistic",
    progress: Progress | None = None,
) -> tuple[Head, HeadReport]:
    """The head, and how good it is. progress: called with sources done and to do.

    Raises:
        TaxonomyError: all examples are in one family.
    """
    measure = ranked if target == "verdict" else _right
    strength, chosen = choose(kind, examples, measure)

    def plain(part: Examples) -> Head:
        return fit(kind, part, strength)

    count = len(np.unique(examples.sources))
    done = itertools.count()

    def nested(part: Examples) -> Head:
        if progress is not None:
            progress(next(done), count)
        return fit(kind, part, choose(kind, part, measure)[0])

    places = examples.positions()
    outputs = {
        "within": held_out(examples, family_folds(examples), plain),
        "across": held_out(examples, source_folds(examples), nested),
        "position": held_out(places, source_folds(places), lambda part: fit("logistic", part, 1.0)),
    }
    reports, found = [], []
    for number in np.unique(examples.sources):
        at = examples.sources == number
        here = {name: values[at] for name, values in outputs.items()}
        found.append(_measured(examples.at(at), here, measure))
        reports.append(_report(examples.source_names[number], examples.at(at), found[-1]))
    report = HeadReport(
        target=target,
        kind=kind,
        labels=examples.names,
        counts=tuple(np.bincount(examples.labels, minlength=len(examples.names)).tolist()),
        strength=strength,
        chosen=chosen,
        families=len(np.unique(examples.families)),
        sources=tuple(reports),
        mean=_report("mean", examples, _mean(found)),
    )
    return fit(kind, examples, strength), report


def entry_of(report: HeadReport, key: Mapping[str, str], records: Sequence[Record]) -> HeadEntry:
    """What goes into the manifest, but for the file's name; `key` is that of the guard's rows."""
    return HeadEntry(
        file="",
        kind=report.kind,
        mode=key["mode"],
        prompt=key["prompt"],
        labels=report.labels,
        strength=report.strength,
        within=report.mean.within.value,
        across=report.mean.across.value,
        families=report.families,
        data=digest_of(records),
    )


def choose(kind: Kind, examples: Examples, measure: Measure) -> tuple[float, dict[float, float]]:
    """The strength that does best on held-out sources, or families where there is one source.

    Of equals the weakest; also the mean for each.
    """
    one = len(np.unique(examples.sources)) < 2
    folds = list(family_folds(examples) if one else source_folds(examples))
    means: dict[float, float] = {}
    for strength in STRENGTHS[kind]:
        outputs = held_out(examples, iter(folds), partial(fit, kind, strength=strength))
        parts = [(outputs[judged], examples.at(judged)) for _, judged in folds]
        found = [measure(out, part.labels, part.weights, part.steps) for out, part in parts]
        values = [value for value in found if np.isfinite(value)]
        means[strength] = float(np.mean(values)) if values else 0.5
    return max(means, key=lambda strength: (means[strength], -strength)), means


def source_folds(examples: Examples) -> Iterator[Fold]:
    """Each source held out."""
    for source in np.unique(examples.sources):
        yield examples.sources != source, examples.sources == source


def family_folds(examples: Examples) -> Iterator[Fold]:
    """A fifth of the families held out. Raises TaxonomyError where there is one family only."""
    count = len(np.unique(examples.families))
    if count < 2:
        raise TaxonomyError("families", expected="at least two", got=str(count))
    folds = GroupKFold(min(_FOLDS, count)).split(examples.features, groups=examples.families)
    for _, judged in folds:
        mask = np.zeros(len(examples.labels), bool)
        mask[judged] = True
        yield ~mask, mask


def held_out(examples: Examples, folds: Iterator[Fold], make: _Fit) -> Floats:
    """float64 [n, out]: outputs of heads that were fitted without; NaN where none could be.

    A label that was not there to be learned has the output -inf.
    """
    width = 1 if len(examples.names) == 2 else len(examples.names)
    outputs = np.full((len(examples.labels), width), np.nan)
    for fitted, judged in folds:
        part, there = examples.at(fitted).compact()
        if len(there) < 2:
            continue
        found = make(part).outputs(examples.features[judged])
        if len(there) < len(examples.names):
            found = found if len(there) > 2 else np.hstack([np.zeros_like(found), found])
            wide = np.full((len(found), width), -np.inf)
            wide[:, there] = found
            found = wide
        outputs[judged] = found
    return outputs


def ranked(outputs: Floats, labels: Ints, weights: Floats, _steps: Ints) -> Floats:
    """The measure of a verdict: AUROC over the examples that have an output."""
    known = np.isfinite(outputs[:, 0])
    return auroc(outputs[known, 0], labels[known], weights[..., known])


def _matched(outputs: Floats, labels: Ints, weights: Floats, steps: Ints) -> Floats:
    known = np.isfinite(outputs[:, 0])
    return matched_auroc(outputs[known, 0], labels[known], weights[..., known], steps[known])


def _right(outputs: Floats, labels: Ints, weights: Floats, _steps: Ints) -> Floats:
    known = ~np.isnan(outputs[:, 0])
    binary = outputs.shape[1] == 1
    chosen = (outputs[:, 0] >= 0).astype(np.int64) if binary else np.argmax(outputs, axis=1)
    return recall(chosen[known], labels[known], weights[..., known])


def _measured(part: Examples, outputs: dict[str, Floats], measure: Measure) -> _Found:
    """What there is to say of one source."""
    measures = {name: (outputs[name], measure) for name in ("within", "across", "position")}
    if measure is ranked:
        measures["matched"] = (outputs["across"], _matched)
        measures["matched_within"] = (outputs["within"], _matched)
    drawn = draw_weights(part.weights, part.families, seed=0)
    found: _Found = {}
    for name, (out, how) in measures.items():
        value = how(out, part.labels, part.weights, part.steps)
        found[name] = float(value), how(out, part.labels, drawn, part.steps)
    (across, each_across), (position, each_position) = found["across"], found["position"]
    found["gain"] = across - position, each_across - each_position
    return found


def _mean(sources: Sequence[_Found]) -> _Found:
    """Over the sources that have a value: of the values, and of their draws."""
    found: _Found = {}
    for name in sources[0]:
        there = [one[name] for one in sources if np.isfinite(one[name][0])]
        if there:
            values, draws = zip(*there, strict=True)
            found[name] = float(np.mean(values)), np.mean(draws, axis=0)
    return found


def _report(name: str, part: Examples, found: _Found) -> SourceReport:
    intervals = {key: interval(value, draws) for key, (value, draws) in found.items()}
    return SourceReport(
        name=name,
        families=len(np.unique(part.families)),
        prefixes=len(part.labels),
        labels=len(np.unique(part.labels)),
        **{key: intervals.get(key, Interval(None)) for key in _MEASURED},
    )
