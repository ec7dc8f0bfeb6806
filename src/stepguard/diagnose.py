"""Reading a diagnosis: dimension after dimension, each a question and the branches of its labels.

The first forest reads what is owed, the verdict's question, the head of the first dimension and the
branches of its trie; its State is where the next dimension goes on. Nothing of it stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from stepguard.forest import Forest, Parent
from stepguard.prompt import Encoder, Prompt, diagnosis_mode
from stepguard.runtime import Result, State
from stepguard.shelf import Shelf
from stepguard.taxonomy import Field, LabelRows, Reason, outside
from stepguard.track import Ask, Ids, Track

LATE = "the time given to the call ran out"
_NUMERIC = "a label logit is not a finite number"

Run = Callable[[Forest], list[Result] | None]


class IncompleteError(Exception):
    """Why reading ended early; never leaves a session."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


@dataclass(frozen=True, eq=False)
class Answered:
    """A dimension, asked on certain labels of those before it.

    end: the State after its head, None where no dimension follows. weight: probability of the
    labels before. shares: label id -> probability. outside: what goes to no label. written: the
    label that is reached by the likeliest token at every branch.
    """

    end: State | None
    weight: float
    shares: Mapping[str, float]
    outside: float
    written: str


@dataclass(frozen=True, eq=False)
class _Placed:
    """Where the segments of a field lie: its head, then one for every further branch."""

    head: int
    branches: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Asker:
    """The question that stands before a diagnosis, and the labels of its verdict, if it has any."""

    encoder: Encoder
    labels: LabelRows | None

    @classmethod
    def of(cls, prompt: Prompt, tokenizer: Tokenizer) -> Asker:
        """That of the mode in which the prompt's labels were placed."""
        asked = prompt.in_mode(diagnosis_mode(prompt))
        rows = ([s.path[0] for s in asked.labels.get(name, ())] for name in ("safe", "unsafe"))
        return cls(Encoder(asked, tokenizer), LabelRows.of(*rows) if asked.labels else None)

    @property
    def rows(self) -> Ids:
        """int32 [r]: the output rows of the verdict's labels."""
        return _ids(() if self.labels is None else self.labels.ids)


class Digger:
    """Reads the dimensions of one diagnosis.

    vocabulary: how many output rows there are. run: the results of a forest, None when it is late.
    """

    def __init__(self, asker: Asker, vocabulary: int, shelf: Shelf, run: Run) -> None:
        self._asker, self._vocabulary, self._shelf, self._run = asker, vocabulary, shelf, run

    def dimensions(
        self, fields: Sequence[Field], track: Track, top: int
    ) -> Iterator[tuple[Field, Answered]]:
        """Every field and its answer, averaged where it was asked more than once.

        Raises IncompleteError where it cannot go on.
        """
        answered = [self._first(fields[0], track)]
        for field, following in zip(fields, [*fields[1:], None], strict=True):
            yield field, _mixed(answered)
            if following is not None:
                answered = self._next(field, following, answered, top, following is not fields[-1])

    def _first(self, field: Field, track: Track) -> Answered:
        forest = Forest(self._asker.rows)
        places: list[tuple[int, _Placed]] = []
        with ExitStack() as stack:
            for end, place in self._ends(forest, track, stack):
                question = Ask.at(place, self._asker.encoder).question
                # Of several windows the verdict's labels tell which one is the least safe.
                least = track.aside is not None and self._asker.labels is not None
                ask = forest.ask if least else forest.read
                asked = ask(end, question)
                places.append((asked, self._place(forest, asked, (), field, keep=True)))
            results = self._results(forest)
        worst = self._least_safe([results[asked] for asked, _ in places])
        return _answered(field, places[worst][1], results, 1.0)

    def _least_safe(self, asked: Sequence[Result]) -> int:
        labels = self._asker.labels
        if len(asked) == 1 or labels is None:
            return 0  # the newest part, of a guard without verdicts
        margins = [labels.margin(result.logits) for result in asked]
        if not all(map(math.isfinite, margins)):
            raise IncompleteError(Reason.NUMERIC, _NUMERIC)
        return max(range(len(asked)), key=lambda index: margins[index])

    def _ends(
        self, forest: Forest, track: Track, stack: ExitStack
    ) -> Iterator[tuple[Parent, Track]]:
        """The ends of the track and of the windows beside it, what is owed of them read."""
        state, owed = stack.enter_context(self._shelf.nearest(track))
        yield (forest.read(state, owed, track) if len(owed) else state), track
        if (aside := track.aside) is None:
            return
        state, owed = stack.enter_context(self._shelf.nearest(aside.root))
        root = forest.read(state, owed, aside.root) if len(owed) else state
        for place in aside.windows:
            yield forest.read(root, place.after(aside.root.total)), place

    def _next(
        self, before: Field, field: Field, answered: Sequence[Answered], top: int, keep: bool
    ) -> list[Answered]:
        """The next dimension, on the likeliest answers so far."""
        beams = [
            (one.weight * share, label, one.end)
            for one in answered
            for label, share in one.shares.items()
            if one.end is not None
        ]
        likeliest = sorted(beams, key=lambda beam: -beam[0])[:top]
        forest = Forest(self._asker.rows)
        placed = [
            self._place(forest, end, before.paths[label], field, keep=keep)
            for _, label, end in likeliest
        ]
        results = self._results(forest)
        return [
            _answered(field, place, results, weight)
            for place, (weight, _, _) in zip(placed, likeliest, strict=True)
        ]

    def _place(
        self, forest: Forest, parent: Parent, path: Sequence[int], field: Field, *, keep: bool
    ) -> _Placed:
        """Adds the head of a field behind the chosen label, and the branches of its trie."""
        others = field.trie.branches[1:]
        # Every row: that says how much the model gives to what is no label.
        every = np.arange(self._vocabulary, dtype=np.int32)
        head = forest.branch(parent, _ids((*path, *field.head)), every, keep=keep)
        at = [head]
        for branch in others:
            at.append(forest.branch(at[branch.above], _ids(branch.ids), _ids(branch.children)))
        return _Placed(head, tuple(at[1:]))

    def _results(self, forest: Forest) -> list[Result]:
        results = self._run(forest)
        if results is None:
            raise IncompleteError(Reason.DEADLINE, LATE)
        for result in results:
            if result.reason:
                raise IncompleteError(Reason(result.reason), result.message)
        return results


def _answered(field: Field, placed: _Placed, results: Sequence[Result], weight: float) -> Answered:
    head = results[placed.head]
    first = head.logits[list(field.trie.branches[0].children)]
    logits = [first, *(results[index].logits for index in placed.branches)]
    shares, beside = field.trie.probabilities(logits), outside(first, head.logits)
    if not all(map(math.isfinite, (*shares.values(), beside))):
        raise IncompleteError(Reason.NUMERIC, _NUMERIC)
    return Answered(head.state, weight, shares, beside, field.trie.written(logits))


def _mixed(answered: Sequence[Answered]) -> Answered:
    """The average, by weight; `written` is that of the likeliest."""
    total = sum(one.weight for one in answered)
    shares = {
        label: sum(one.weight * one.shares[label] for one in answered) / total
        for label in answered[0].shares
    }
    beside = sum(one.weight * one.outside for one in answered) / total
    return Answered(None, total, shares, beside, answered[0].written)


def _ids(ids: Sequence[int]) -> Ids:
    return np.array(ids, np.int32)
