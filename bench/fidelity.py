"""How far the margins of a quantised guard lie from those of its float32 export."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from stepguard.bench.opened import Opened
from stepguard.bench.samples import Sample
from stepguard.errors import StepguardError
from stepguard.forest import chain
from stepguard.prompt import Encoder, Trajectory
from stepguard.taxonomy import judge
from stepguard.track import Ask, Ids, Track

Progress = Callable[[int, int], None]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Margins:
    """What one guard answered: float64 [verdicts] margins, [verdicts, rows] label logits; tokens:
    int64 [trajectories] that were read; owners: int64 [verdicts], the place of the trajectory;
    labels: int64 [verdicts], 1 where its file calls what was read unsafe, 0 safe, -1 where it does
    not say."""

    margins: Floats
    logits: Floats
    tokens: npt.NDArray[np.int64]
    owners: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]

    def of(self, places: Sequence[int]) -> Margins:
        """Those of some of the trajectories, which get new places in this order."""
        rows = [np.flatnonzero(self.owners == place) for place in places]
        chosen = np.concatenate(rows)
        owners = np.repeat(np.arange(len(places)), [len(one) for one in rows])
        tokens = self.tokens[list(places)]
        return Margins(
            self.margins[chosen], self.logits[chosen], tokens, owners, self.labels[chosen]
        )


@dataclass(frozen=True)
class Comparison:
    """Differences between two guards over the same questions."""

    verdicts: int
    margin_mean: float
    margin_p95: float
    margin_max: float
    margin_bias: float
    """Mean of the signed differences: a shift that a calibration could take back."""
    margin_spread: float
    """Standard deviation of the reference's margins, to measure the others by."""
    logit_mean: float
    logit_max: float
    flips: int
    """Verdicts that are safe for one and unsafe for the other."""

    def to_dict(self) -> dict[str, float | int]:
        """Ready for JSON."""
        return dataclasses.asdict(self)


def compare(reference: Margins, other: Margins) -> Comparison:
    """Differences of `other` from `reference`; both answered the same questions in one order."""
    margin = other.margins - reference.margins
    logit = np.abs(other.logits - reference.logits)
    flips = sum(
        judge(float(a))[0] != judge(float(b))[0]
        for a, b in zip(reference.margins, other.margins, strict=True)
    )
    return Comparison(
        verdicts=len(margin),
        margin_mean=float(np.abs(margin).mean()),
        margin_p95=float(np.quantile(np.abs(margin), 0.95)),
        margin_max=float(np.abs(margin).max()),
        margin_bias=float(margin.mean()),
        margin_spread=float(reference.margins.std()),
        logit_mean=float(logit.mean()),
        logit_max=float(logit.max()),
        flips=flips,
    )


def questions(encoder: Encoder, trajectory: Trajectory, cut: int) -> list[Ask]:
    """A question at every agent action and, where the text is cut, one more at the cut.

    No question has more than `cut` tokens in front of it and in it, the prefix counted. A
    trajectory without an action has one question, at its end.

    Raises:
        StepguardError: `cut` is too small for the prompt alone.
    """
    track = Track.begin(encoder, trajectory.profile)
    asks: list[Ask] = []
    for step in trajectory.steps:
        track = track.extend(encoder, step)
        ask = Ask.at(track, encoder)
        room = cut - len(encoder.prefix_ids) - len(ask.question)
        if track.total > room:
            last = asks[-1].track.total if asks else 0
            return asks + _cut(ask, last, room) or _no_room(cut)
        if step.is_action:
            asks.append(ask)
    return asks or [Ask.at(track, encoder)]


def _cut(ask: Ask, last: int, room: int) -> list[Ask]:
    """The question after `room` tokens; none where that is before the last question's `last`."""
    if room < last:
        return []
    ids = ask.track.after(0)[:room]
    return [Ask(dataclasses.replace(ask.track, above=None, ids=ids, total=room), ask.question)]


def _no_room(cut: int) -> NoReturn:
    raise StepguardError(
        f"a cut at {cut} tokens", expected="room for the prompt and a question", got="none"
    )


def last_path(encoder: Encoder, asks: Sequence[Ask]) -> Ids:
    """int32 [n]: all token ids from the first one to the end of the last question."""
    last = [asks[-1].track.after(0), asks[-1].question] if asks else []
    parts = [encoder.prefix_ids, *last]
    return np.concatenate(parts).astype(np.int32)


def read_margins(
    model: Opened, samples: Sequence[Sample], cut: int, progress: Progress | None = None
) -> Margins:
    """Reads all samples and their questions; `progress` gets how many are done, and of how many.

    Raises:
        StepguardError: an answer is missing; a comparison without it would mean nothing.
    """
    reader, tokens = model.reader, list[int]()
    read: list[npt.NDArray[np.float32]] = []
    counts, labels = list[int](), list[int]()
    for done, sample in enumerate(samples, start=1):
        asks = questions(reader.encoder, sample.trajectory, cut)
        results = reader.run(chain(reader.prefix, asks, reader.judge.rows).segments)
        for result in results[1::2]:
            if result.reason:
                raise StepguardError(
                    f"{model.folder}: {sample.name}",
                    expected="an answer to every question",
                    got=f"{result.reason}: {result.message}",
                )
            read.append(np.array(result.logits, np.float32))
        counts.append(len(asks))
        labels += _labels(sample, asks)
        tokens.append(asks[-1].track.total + sum(len(ask.question) for ask in asks))
        if progress is not None:
            progress(done, len(samples))
    rows, words = np.stack(read), reader.judge.labels
    assert words is not None  # a guard without labels has no forest of questions
    margins = np.array([words.margin(row) for row in rows])
    owners = np.repeat(np.arange(len(samples)), counts)
    logits = rows.astype(np.float64)
    return Margins(margins, logits, np.array(tokens), owners, np.array(labels))


def _labels(sample: Sample, asks: Sequence[Ask]) -> list[int]:
    """What the sample's file says of the text before each question, as in `Margins`."""
    label, first = sample.value.get("label"), sample.value.get("first_unsafe_step")
    if label not in (0, 1):
        return [-1] * len(asks)
    if label == 0:
        return [0] * len(asks)
    if isinstance(first, int):
        return [_at(ask.track, first) for ask in asks]
    return [-1] * (len(asks) - 1) + [-1 if _is_cut(asks[-1].track) else 1]


def _at(track: Track, first: int) -> int:
    """Where step `first` is the first unsafe one; of a cut inside of that step nobody knows."""
    step = track.step if track.step is not None else -1
    if _is_cut(track) and step == first:
        return -1
    return int(step - _is_cut(track) >= first)


def _is_cut(track: Track) -> bool:
    return track.above is None
