"""Where a trajectory stands: what was rendered and encoded, step by step. Values, never changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from stepguard.errors import PromptError, TokenizerError, TrajectoryError
from stepguard.prompt import Border, Encoder, Extension, Step

Ids = npt.NDArray[np.int32]
NO_IDS: Ids = np.empty(0, np.int32)


@dataclass(frozen=True, eq=False)
class Aside:
    """What a track alone does not show of a step that is too long for the context.

    root: the track before that step. windows: tracks that go on from it, each with another part of
    the step, and with what was said after it. tokens: those that only they show. step: the index of
    the long step. said: all of it. acted: it, or a step after it, is an action.
    """

    root: Track
    windows: tuple[Track, ...]
    tokens: int
    step: int
    said: Step
    acted: bool

    def extend(self, encoder: Encoder, step: Step) -> Aside:
        """The same with one more step behind every window."""
        windows = tuple(window.extend(encoder, step) for window in self.windows)
        return replace(self, windows=windows, acted=step.is_action)


@dataclass(frozen=True, eq=False)
class Track:
    """A trajectory up to the end of one step; `above` is the same up to the step before.

    border: where the stable ids end. ids: int32 [n] stable ids that came with this step. total: how
    many there are from the prefix on. said: the step. step: its index. count: how many steps there
    were, also those that are not on the path any more. malformed: why a step could not be rendered;
    then no verdict can follow. left_out: first and last index of runs of steps that the model does
    not see any more, or not whole; `lost` are their tokens.
    """

    border: Border
    ids: Ids
    above: Track | None = None
    total: int = 0
    said: Step | None = None
    step: int | None = None
    count: int = 0
    neutralised: int = 0
    capped: int = 0
    unreadable: int = 0
    malformed: str = ""
    left_out: tuple[tuple[int, int], ...] = ()
    lost: int = 0
    aside: Aside | None = None

    @classmethod
    def begin(cls, encoder: Encoder, profile: str) -> Track:
        """The track of a new session: its profile.

        Raises:
            PromptError, TokenizerError: the profile cannot be rendered.
        """
        extension = encoder.begin(profile)
        return cls(Border(""), NO_IDS)._with(extension)

    def extend(self, encoder: Encoder, step: Step) -> Track:
        """The track with one more step.

        A step that cannot be rendered is not skipped: from here on the track is malformed. Windows
        beside the track go on up to the next action, whose verdict so covers all of them.
        """
        index = self.count
        track = self.without_aside() if self.aside is not None and self.aside.acted else self
        aside = None if track.aside is None else track.aside.extend(encoder, step)
        track = replace(
            track, above=self, ids=NO_IDS, said=step, step=index, count=index + 1, aside=aside
        )
        if track.malformed:
            return track
        try:
            extension = encoder.extend(track.border, step)
            if step.is_action and extension.unreadable:
                # Nobody may call an action safe that the model did not see whole.
                parts = f"{extension.unreadable} parts of the action cannot be read"
                return replace(track, malformed=f"step {index}: {parts}")
            return track._with(extension)
        except (PromptError, TokenizerError, TrajectoryError, UnicodeError) as error:
            return replace(track, malformed=f"step {index}: {error}")

    def _with(self, extension: Extension) -> Track:
        return replace(
            self,
            border=extension.border,
            ids=extension.ids,
            total=self.total + len(extension.ids),
            neutralised=self.neutralised + extension.neutralised,
            capped=self.capped + extension.capped,
            unreadable=self.unreadable + extension.unreadable,
        )

    def without_aside(self) -> Track:
        """The same place, where only the track's own part of a long step is seen from now on."""
        if self.aside is None:
            return self
        return replace(
            self,
            lost=self.lost + self.aside.tokens,
            left_out=runs(self.left_out, [self.aside.step]),
            aside=None,
        )

    @property
    def beside(self) -> int:
        """Tokens that only the windows beside the track show."""
        return 0 if self.aside is None else self.aside.tokens

    @property
    def all(self) -> tuple[Track, ...]:
        """The track, and those beside it."""
        return (self,) if self.aside is None else (self, *self.aside.windows)

    def path(self) -> Iterator[Track]:
        """This track and all above it, the newest first."""
        track: Track | None = self
        while track is not None:
            yield track
            track = track.above

    def after(self, count: int) -> Ids:
        """int32 [total - count]: the ids behind the first `count`, the prefix's not counted."""
        parts = []
        for track in self.path():
            if track.total <= count:
                break
            parts.append(track.ids[max(0, count - track.total + len(track.ids)) :])
        return np.concatenate([NO_IDS, *reversed(parts)])


def runs(before: tuple[tuple[int, int], ...], steps: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """First and last index of the runs among numbers that are left out, before and now."""
    numbers = sorted({i for a, b in before for i in range(a, b + 1)} | set(steps))
    breaks = [i for i, (a, b) in enumerate(pairwise(numbers), 1) if b > a + 1]
    edges = [0, *breaks, len(numbers)]
    return tuple((numbers[a], numbers[b - 1]) for a, b in pairwise(edges) if b > a)


@dataclass(frozen=True, eq=False)
class Ask:
    """A track, and the question to be read after it: int32 [n], the held-back tail in front."""

    track: Track
    question: Ids

    @classmethod
    def at(cls, track: Track, encoder: Encoder) -> Ask:
        """The question at the end of a track; a malformed one has none."""
        return cls(track, NO_IDS if track.malformed else encoder.question(track.border))

    @property
    def total(self) -> int:
        """Tokens of the trajectory that an answer covers, the question counted."""
        return self.track.total + len(self.question)
