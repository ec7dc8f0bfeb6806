"""Labelled prefixes of a record as rows of token ids: the steps once, a branch for each question.

Rendered by the very code of inference, a window of the newest steps included where a trajectory is
longer than the context. All prefixes that begin alike share one row: what a branch reads are the
ids that a guard reads at that action, in the same places.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stepguard.prompt import Encoder
from stepguard.taxonomy import Fields, LabelRows, Trie
from stepguard.track import Ask, Track
from stepguard.train.points import label_steps
from stepguard.train.records import Record
from stepguard.window import Window

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """A place where labels part: behind the row's token `at`. ids: the output rows that are told
    apart there; right: those of them that are right."""

    at: int
    ids: tuple[int, ...]
    right: tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """A labelled prefix. weight: those of a record add up to the record's. lost: tokens before it
    that the context has no room for. labels: of each dimension that is known, its choices."""

    step: int
    unsafe: bool
    weight: float
    lost: int
    verdict: Choice
    labels: tuple[tuple[Choice, ...], ...] = ()


@dataclass(frozen=True)
class Branch:
    """The tokens begin..end of a row: they see the first `fork` of the trunk, and each other."""

    begin: int
    end: int
    fork: int


@dataclass(frozen=True, eq=False)
class Row:
    """ids: int64 [n], a trunk of `trunk` ids and then the branches, a branch for each question."""

    ids: Ids
    trunk: int
    branches: tuple[Branch, ...]
    questions: tuple[Question, ...]

    @cached_property
    def positions(self) -> Ids:
        """int64 [n]: the place of every id in its prefix."""
        parts = [branch.fork + np.arange(branch.end - branch.begin) for branch in self.branches]
        return np.concatenate([np.arange(self.trunk), *parts]).astype(np.int64)

    @property
    def plain(self) -> bool:
        """Whether it is one prefix from its first id to its last."""
        return len(self.branches) == 1 and self.branches[0].fork == self.trunk

    def sees(self) -> npt.NDArray[np.bool_]:
        """bool [n, n]: whether the token of a row may look at that of a column."""
        seen = np.tril(np.ones((len(self.ids), len(self.ids)), np.bool_))
        for branch in self.branches:
            seen[branch.begin : branch.end, branch.fork : branch.begin] = False
        return seen

    def prefix(self, index: int) -> Ids:
        """All ids that the branch `index` reads."""
        branch = self.branches[index]
        return np.concatenate([self.ids[: branch.fork], self.ids[branch.begin : branch.end]])

    @property
    def sha256(self) -> str:
        """Of what a forward pass depends on."""
        parts = [self.ids.tobytes(), repr((self.trunk, self.branches)).encode()]
        return hashlib.sha256(b"".join(parts)).hexdigest()


@dataclass(frozen=True, eq=False)
class Packed:
    """All that is learned from a record. unread: labelled prefixes that have no place in the
    context, or cannot be rendered; cut: those that lost steps to it."""

    record: Record
    rows: tuple[Row, ...]
    unread: int

    @property
    def questions(self) -> tuple[Question, ...]:
        """Of all rows, in the order of the steps."""
        return tuple(question for row in self.rows for question in row.questions)

    @property
    def cut(self) -> int:
        """How many prefixes lost steps to the context."""
        return sum(question.lost > 0 for question in self.questions)

    @property
    def tokens(self) -> int:
        """Of all rows."""
        return sum(len(row.ids) for row in self.rows)


@dataclass(frozen=True, eq=False)
class Packer:
    """Makes rows for one way to ask. context: most tokens of a prefix with its question. most:
    labelled prefixes of a record; None takes them all."""

    encoder: Encoder
    labels: LabelRows
    fields: Fields | None
    context: int
    most: int | None = None

    def pack(self, record: Record, weight: float = 1.0) -> Packed:
        """The labelled prefixes of a record; none where it has no action."""
        asks = self._asks(record)
        labels = label_steps(record, [step for step, _ in asks])
        known = [(ask, label) for (_, ask), label in zip(asks, labels, strict=True)]
        asked = [(ask, bool(label)) for ask, label in known if label is not None]
        read = [(ask, label) for ask, label in asked if ask is not None]
        first = next((index for index, (_, unsafe) in enumerate(read) if unsafe), None)
        chosen = _chosen(record, [ask.track.count - 1 for ask, _ in read], first, self.most)
        share = weight / max(len(chosen), 1)
        rows: list[_Growing] = []
        for index in chosen:
            ask, unsafe = read[index]
            trunk = np.concatenate([self.encoder.prefix_ids, ask.track.after(0)])
            if not rows or not rows[-1].grows_to(trunk):
                rows.append(_Growing(trunk))
            # A diagnosis is asked once, behind the first prefix that is unsafe.
            answer = _answer(record, self.fields) if index == first else _NOTHING
            rows[-1].add(ask, unsafe, share, answer)
        found = tuple(row.finish(self.labels) for row in rows)
        return Packed(record, found, len(asked) - len(read))

    def _asks(self, record: Record) -> list[tuple[int, Ask | None]]:
        """The step and the question at every action; no question where it cannot be read."""
        window = Window(self.encoder, self.context)
        track = Track.begin(self.encoder, record.trajectory.profile)
        asks: list[tuple[int, Ask | None]] = []
        for index, step in enumerate(record.trajectory.steps):
            _, track = window.ahead(track, step)
            if step.is_action:
                ask = Ask.at(track, self.encoder)
                fits = ask.total + len(self.encoder.prefix_ids) <= self.context
                asks.append((index, ask if fits and not track.malformed else None))
        return asks


def _chosen(record: Record, steps: Sequence[int], first: int | None, most: int | None) -> list[int]:
    """Which prefixes are learned from, in order: first of all those on both sides of where the
    record turns unsafe (or its twin does), then the last one, then others by a hash."""
    count = len(steps)
    if most is None or count <= most:
        return list(range(count))
    decisive = record.meta.get("decisive_step")
    turn = first if first is not None else steps.index(decisive) if decisive in steps else None
    near = [] if turn is None else [turn, turn - 1]
    drawn = [hashlib.sha256(f"{record.sha256}:{step}".encode()).digest() for step in steps]
    others = sorted(range(count), key=drawn.__getitem__)
    order = dict.fromkeys(index for index in [*near, count - 1, *others] if index >= 0)
    return sorted(list(order)[:most])


@dataclass(frozen=True)
class _Answer:
    """ids behind a question; choices as in `Question.labels`, counted from the first of them."""

    ids: tuple[int, ...]
    labels: tuple[tuple[Choice, ...], ...]


_NOTHING = _Answer((), ())


def _answer(record: Record, fields: Fields | None) -> _Answer:
    """The lines of a diagnosis as the guard answers them, up to the first that is not known: every
    line is asked behind the label of the one before it."""
    ids: list[int] = []
    labels: list[tuple[Choice, ...]] = []
    for field in fields.fields if fields is not None else ():
        path = field.paths.get(record.label_of(field.dimension.value) or "")
        if path is None:
            break
        label = str(record.label_of(field.dimension.value))
        ids += field.head
        choices = []
        for branch, child in field.trie.turns[label]:
            children = field.trie.branches[branch].children
            at = len(ids) + _depth(field.trie, branch) - 1
            choices.append(Choice(at, children, (children[child],)))
        labels.append(tuple(choices))
        ids += path
    return _Answer(tuple(ids), tuple(labels))


def _depth(trie: Trie, branch: int) -> int:
    """How many tokens of a label stand before a branch."""
    depth = 0
    while branch >= 0:
        depth += len(trie.branches[branch].ids)
        branch = trie.branches[branch].above
    return depth


class _Growing:
    """A row while its prefixes come."""

    def __init__(self, trunk: npt.NDArray[np.int32]) -> None:
        self._trunk = trunk
        self._asked: list[tuple[int, Ask, bool, float, _Answer]] = []

    def grows_to(self, trunk: npt.NDArray[np.int32]) -> bool:
        """Takes a longer trunk, if it begins like this one."""
        size = len(self._trunk)
        if len(trunk) < size or not np.array_equal(trunk[:size], self._trunk):
            return False
        self._trunk = trunk
        return True

    def add(self, ask: Ask, unsafe: bool, weight: float, answer: _Answer) -> None:
        self._asked.append((len(self._trunk), ask, unsafe, weight, answer))

    def finish(self, labels: LabelRows) -> Row:
        parts: list[Sequence[int] | npt.NDArray[np.int32]] = [self._trunk]
        branches, questions, at = [], [], len(self._trunk)
        for fork, ask, unsafe, weight, answer in self._asked:
            begin, asked = at, at + len(ask.question)
            at = asked + len(answer.ids)
            parts += [ask.question, answer.ids]
            branches.append(Branch(begin, at, fork))
            right = labels.unsafe if unsafe else labels.safe
            questions.append(
                Question(
                    step=ask.track.count - 1,
                    unsafe=unsafe,
                    weight=weight,
                    lost=ask.track.lost + ask.track.beside,
                    verdict=Choice(asked - 1, labels.ids, right),
                    labels=tuple(
                        tuple(Choice(asked + one.at, one.ids, one.right) for one in choices)
                        for choices in answer.labels
                    ),
                )
            )
        ids = np.concatenate([np.asarray(part, np.int64) for part in parts])
        return Row(ids, len(self._trunk), tuple(branches), tuple(questions))
