"""Where a session stands: what was rendered, what was read, what is owed. Values, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stepguard.errors import PromptError, TokenizerError, TrajectoryError
from stepguard.prompt import Border, Encoder, Extension, Step
from stepguard.runtime import Segment, State

Ids = npt.NDArray[np.int32]
NO_IDS: Ids = np.empty(0, np.int32)


@dataclass(frozen=True, eq=False)
class Track:
    """A trajectory on its way into the model.

    border: where the stable ids end. owed: int32 [n] stable ids that were not read yet. read: how
    many were, the prefix not counted. unasked: tokens read since the last verdict. step: index of
    the last step. malformed: why a step could not be rendered; then no verdict can follow.
    """

    border: Border
    owed: Ids
    read: int = 0
    unasked: int = 0
    step: int | None = None
    neutralised: int = 0
    capped: int = 0
    unreadable: int = 0
    malformed: str = ""

    @classmethod
    def begin(cls, encoder: Encoder, profile: str) -> Track:
        """The track of a new session, which owes its profile.

        Raises:
            PromptError, TokenizerError: the profile cannot be rendered.
        """
        extension = encoder.begin(profile)
        return _added(cls(extension.border, NO_IDS), extension)

    def extend(self, encoder: Encoder, step: Step) -> Track:
        """The track with one more step, which it owes.

        A step that cannot be rendered is not skipped: from here on the track is malformed.
        """
        index = 0 if self.step is None else self.step + 1
        track = replace(self, step=index)
        if track.malformed:
            return track
        try:
            extension = encoder.extend(track.border, step)
            if step.is_action and extension.unreadable:
                # Nobody may call an action safe that the model did not see whole.
                parts = f"{extension.unreadable} parts of the action cannot be read"
                return replace(track, malformed=f"step {index}: {parts}")
            return _added(track, extension)
        except (PromptError, TokenizerError, TrajectoryError, UnicodeError) as error:
            return replace(track, malformed=f"step {index}: {error}")

    def paid(self) -> Track:
        """The track when what it owed was read."""
        size = len(self.owed)
        return replace(self, owed=NO_IDS, read=self.read + size, unasked=self.unasked + size)

    def answered(self) -> Track:
        """The track after a verdict."""
        return replace(self, unasked=0)


def _added(track: Track, extension: Extension) -> Track:
    return replace(
        track,
        border=extension.border,
        owed=np.concatenate([track.owed, extension.ids]),
        neutralised=track.neutralised + extension.neutralised,
        capped=track.capped + extension.capped,
        unreadable=track.unreadable + extension.unreadable,
    )


@dataclass(frozen=True, eq=False)
class Ask:
    """A track whose debts are to be read, and the question to be read after them.

    question: int32 [n], the held-back tail of the text in front.
    """

    track: Track
    question: Ids

    @classmethod
    def at(cls, track: Track, encoder: Encoder) -> Ask:
        """The question at the end of a track; a malformed one has none."""
        return cls(track, NO_IDS if track.malformed else encoder.question(track.border))

    @property
    def tokens(self) -> int:
        """Tokens that this costs."""
        return len(self.track.owed) + len(self.question)


def forest(parent: State, asks: Sequence[Ask], rows: Ids, *, keep: bool) -> list[Segment]:
    """Two segments per question: what is owed, on top of the one before; the question, read.

    rows: int32 [r] output rows. keep: whether somebody goes on from what was owed; without it one
    recurrent slot is handed on from step to step. Malformed tracks are left out.
    """
    segments: list[Segment] = []
    for ask in asks:
        if ask.track.malformed:
            break  # and so are all that follow
        below = len(segments) - 2 if segments else parent
        segments.append(Segment(ask.track.owed, below, keep=keep))
        segments.append(Segment(ask.question, len(segments) - 1, read=rows))
    return segments
