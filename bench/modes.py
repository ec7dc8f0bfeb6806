"""How far the verdicts of one guard, read in different modes, agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from stepguard.bench.fidelity import questions
from stepguard.bench.opened import Opened
from stepguard.bench.samples import Sample
from stepguard.errors import PromptError
from stepguard.forest import chain
from stepguard.judge import Cost
from stepguard.prompt import Encoder
from stepguard.taxonomy import Status, Verdict
from stepguard.track import Ask

Progress = Callable[[int, int], None]
Floats = npt.NDArray[np.float64]

_NOTHING = Cost(0, 0.0)
_FEWEST = 3  # points of a correlation


@dataclass(frozen=True)
class Agreement:
    """Two modes over the same questions."""

    first: str
    second: str
    verdicts: int
    first_unavailable: int
    second_unavailable: int
    both: int
    """Questions that both answered."""
    agree: int
    """Of these, those with the same status."""
    correlation: float | None
    """Pearson's, of the margins that both gave; None where they are fewer than three, or all equal
    on one side."""
    rank_correlation: float | None
    """Spearman's, of the same."""

    def to_dict(self) -> dict[str, str | int | float | None]:
        """Ready for JSON."""
        return dataclasses.asdict(self)


def verdict_modes(model: Opened) -> list[str]:
    """The modes of a guard that give verdicts. Raises PromptError where there is only one."""
    prompt = model.guard.prompt
    modes = list(prompt.modes) if prompt.gives_verdicts else []
    if len(modes) < 2:
        got = ", ".join(prompt.modes)
        fix = "Export with --rationale on."
        raise PromptError("--modes", expected="a guard with two modes at least", got=got, fix=fix)
    return modes


def ask_all(model: Opened, samples: Sequence[Sample], cut: int) -> list[list[Ask]]:
    """The questions to every sample, cut so that those of each mode have room."""
    prompt, tokenizer = model.guard.prompt, model.reader.encoder.tokenizer
    encoders = [Encoder(prompt.in_mode(mode), tokenizer) for mode in verdict_modes(model)]
    longest = max(encoders, key=lambda own: len(own.question(own.begin("").border)))
    return [questions(longest, sample.trajectory, cut) for sample in samples]


def read_verdicts(
    model: Opened, asked: Sequence[Sequence[Ask]], progress: Progress | None = None
) -> list[Verdict]:
    """What the guard answers in the mode that it was opened in."""
    reader, judge, verdicts = model.reader, model.reader.judge, list[Verdict]()
    for done, asks in enumerate(asked, start=1):
        own = [Ask(ask.track, reader.encoder.question(ask.track.border)) for ask in asks]
        forest = chain(reader.prefix, own, judge.rows, writes=judge.writes)
        results = reader.run(forest.segments)[1::2]
        if judge.writes and reader.written is not None:
            outcomes = reader.written.finish(results, judge, None)
            found = zip(own, outcomes, strict=True)
            verdicts += [judge.read(ask, [outcome], 0, _NOTHING) for ask, outcome in found]
        else:
            pairs = zip(own, results, strict=True)
            verdicts += [judge.verdict(ask, [result], 0, _NOTHING) for ask, result in pairs]
        if progress is not None:
            progress(done, len(asked))
    return verdicts


def agreements(answers: Mapping[str, Sequence[Verdict]]) -> list[Agreement]:
    """Every two modes, in order; all answered the same questions."""
    return [
        compare_modes(first, answers[first], second, answers[second])
        for first, second in combinations(answers, 2)
    ]


def compare_modes(
    first: str, ours: Sequence[Verdict], second: str, theirs: Sequence[Verdict]
) -> Agreement:
    """Two modes over the same questions."""
    pairs = [
        (a, b)
        for a, b in zip(ours, theirs, strict=True)
        if Status.UNAVAILABLE not in (a.status, b.status)
    ]
    a, b = (np.array([pair[side].margin for pair in pairs], np.float64) for side in (0, 1))
    return Agreement(
        first=first,
        second=second,
        verdicts=len(ours),
        first_unavailable=sum(v.status is Status.UNAVAILABLE for v in ours),
        second_unavailable=sum(v.status is Status.UNAVAILABLE for v in theirs),
        both=len(pairs),
        agree=sum(one.status is other.status for one, other in pairs),
        correlation=_correlation(a, b),
        rank_correlation=_correlation(_ranks(a), _ranks(b)),
    )


def _correlation(a: Floats, b: Floats) -> float | None:
    if len(a) < _FEWEST or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, the mean rank for equal values."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: Floats = ends - (counts + 1) / 2
    return means[inverse]
