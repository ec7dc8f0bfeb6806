"""What a sliding window must do, in plain lists: the rule of `stepguard.window`, written again.

The context is full when profile, steps and question have no room behind the prefix. Then half of
the room that was there before the new step is filled again: the profile, the first user step unless
it takes more than half of what is left, and the newest steps, of which the last one always stays.
The new step comes behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from stepguard import Step, Trajectory
from stepguard.prompt import Encoder


@dataclass
class Place:
    """A step in view: its index, and the stable ids that came with it."""

    index: int
    step: Step
    tokens: int


@dataclass
class WindowModel:
    """Steps in, and what a verdict must say about them out. `context` counts the prefix too."""

    encoder: Encoder
    context: int
    profile: str
    said: list[Step] = field(default_factory=list)
    view: list[Place] = field(default_factory=list)
    lost: int = 0
    lost_steps: set[int] = field(default_factory=set)
    moves: int = 0
    read: int = 0
    """Stable tokens that a session must have read by now, those read twice counted twice."""

    def __post_init__(self) -> None:
        self.begin = len(self.encoder.begin(self.profile).ids)
        self.read = self.begin
        self._count()

    def say(self, step: Step) -> None:
        self.said.append(step)
        self.view.append(Place(len(self.said) - 1, step, 0))
        self._count()
        new = self.view[-1].tokens
        if self._stable() <= self.room:
            self.read += new
            return
        place = self.view.pop()
        self._count()
        self._move()
        self.view.append(place)
        self._count()
        assert self._stable() <= self.room
        self.read += self._stable()

    @property
    def question(self) -> int:
        """Tokens of the question where the trajectory stands, what was held back counted."""
        return len(self.encoder.question(self.border))

    @property
    def seen(self) -> int:
        """Tokens that a verdict rests on, by encoding all text in view at once."""
        whole = self.encoder.whole(Trajectory(self.profile, self.steps), self.cuts)
        return len(whole) - len(self.encoder.prefix_ids)

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(place.step for place in self.view)

    @property
    def coverage(self) -> float:
        return self.seen / (self.seen + self.lost)

    @property
    def left_out(self) -> tuple[tuple[int, int], ...]:
        """First and last index of every run of steps out of view."""
        runs: list[tuple[int, int]] = []
        for index in sorted(self.lost_steps):
            if runs and runs[-1][1] == index - 1:
                runs[-1] = (runs[-1][0], index)
            else:
                runs.append((index, index))
        return tuple(runs)

    def _stable(self) -> int:
        return self.begin + sum(place.tokens for place in self.view)

    def _count(self) -> None:
        """Tokens of every step in view, encoded from the profile on."""
        extension = self.encoder.begin(self.profile)
        self.cuts = [*extension.cuts]
        for place in self.view:
            extension = self.encoder.extend(extension.border, place.step)
            place.tokens = len(extension.ids)
            self.cuts += extension.cuts
        self.border = extension.border
        self.room = self.context - len(self.encoder.prefix_ids) - self.question

    def _move(self) -> None:
        budget = self.room // 2 - self.begin
        first = next((place for place in self.view if place.step.role == "user"), None)
        stay: list[Place] = []
        if first is not None and first.tokens <= budget // 2:
            budget -= first.tokens
            stay = [first]
        newest = self.view[-1:]
        for place in self.view[-2::-1]:
            if sum(other.tokens for other in newest) + place.tokens > budget:
                break
            newest.insert(0, place)
        stay = newest if stay and stay[0] in newest else stay + newest
        gone = [place for place in self.view if place not in stay]
        self.lost += sum(place.tokens for place in gone)
        self.lost_steps |= {place.index for place in gone}
        self.view, self.moves = stay, self.moves + 1


def steps_of(steps: Sequence[Step], encoder: Encoder, tokens: int, most: int) -> list[Step]:
    """The first of the steps, of at most `most` tokens each, that are `tokens` together."""
    border, taken, total = encoder.begin("").border, list[Step](), 0
    for step in steps:
        size = len(encoder.extend(border, step).ids)
        if 0 < size <= most:
            taken.append(step)
            total += size
        if total >= tokens:
            return taken
    raise AssertionError(f"the text has {total} tokens only")
