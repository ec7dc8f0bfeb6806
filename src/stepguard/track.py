"""Where a trajectory stands: what was rendered and encoded, step by step. Values, never changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stepguard.errors import PromptError, TokenizerError, TrajectoryError
from stepguard.prompt import Border, Encoder, Extension, Step

Ids = npt.NDArray[np.int32]
NO_IDS: Ids = np.empty(0, np.int32)


@dataclass(frozen=True, eq=False)
class Track:
    """A trajectory up to the end of one step; `above` is the same up to the step before.

    border: where the stable ids end. ids: int32 [n] stable ids that came with this step. total: how
    many there are from the prefix on. said: the step. step: its index. malformed: why a step could
    not be rendered; then no verdict can follow. left_out: first and last index of runs of steps
    that the model does not see any more, `lost` their tokens.
    """

    border: Border
    ids: Ids
    above: Track | None = None
    total: int = 0
    said: Step | None = None
    step: int | None = None
    neutralised: int = 0
    capped: int = 0
    unreadable: int = 0
    malformed: str = ""
    left_out: tuple[tuple[int, int], ...] = ()
    lost: int = 0

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

        A step that cannot be rendered is not skipped: from here on the track is malformed.
        """
        index = 0 if self.step is None else self.step + 1
        track = replace(self, above=self, ids=NO_IDS, said=step, step=index)
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
