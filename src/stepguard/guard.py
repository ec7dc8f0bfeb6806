"""A loaded guard model: the front door."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Literal

from stepguard.calls import VerdictAt
from stepguard.follow_up import FollowUp
from stepguard.hidden import HiddenRows, rows_of
from stepguard.loaded import Loaded
from stepguard.moderating import (
    TrajectoryLike,
    as_trajectory,
    follow_each,
    read_together,
    write_together,
)
from stepguard.queue import Progress, Queue, asks_of
from stepguard.reading import Reading
from stepguard.screening import Screening
from stepguard.second import Follower
from stepguard.session import Session
from stepguard.taxonomy import Verdict
from stepguard.track import Track
from stepguard.window import Window


class Guard(Loaded):
    """Shared by any number of sessions and threads. Make it with `Guard.load`."""

    def require_labels(self) -> None:
        """Raises TaxonomyError for a guard that was exported without labels of a diagnosis, and has
        no other guard beside it that has."""
        _ = (self._diagnoser or self._reader).judge.needed_fields

    def session(
        self,
        profile: str = "",
        *,
        window: Literal["strict", "window"] = "strict",
        verdict_at: VerdictAt = "actions",
        diagnose: bool = True,
    ) -> Session:
        """A new trajectory.

        Args:
            profile: describes the agent; it is read with the first step.
            window: what happens when the context is full. "strict": verdicts are
                `unavailable(overflow)`. "window": the profile, the first user step and the newest
                steps stay, verdicts name what was left out and have a coverage below 1; a step that
                is too long even so is read in overlapping windows, and the worst of them counts.
            verdict_at: the steps at which `Session.follow` gives a verdict: "actions" of the agent,
                all steps of the "agent", or "all".
            diagnose: begin a diagnosis after every unsafe verdict, where the guard has labels for
                it: `verdict.diagnosis` is a future, which the verdict does not wait for.

        Raises:
            ValueError: an unknown window or verdict_at.
            PromptError, TokenizerError: the profile cannot be rendered.
            ForkedProcessError: called in a child of fork().
            TypeError: `profile` is no string.
        """
        if not isinstance(profile, str):
            raise TypeError(f"profile: expected a string, got {type(profile).__name__}")
        if window not in ("strict", "window"):
            raise ValueError(f"window: expected 'strict' or 'window', got {window!r}")
        reading, track, follow_up = self.begin(profile, window=window, diagnose=diagnose)
        return Session(reading, track, verdict_at, follow_up)

    def begin(
        self, profile: str, *, window: Literal["strict", "window"], diagnose: bool
    ) -> tuple[Reading, Track, FollowUp]:
        """What a new trajectory is read with, where it begins, and what follows its verdicts.

        Raises PromptError, TokenizerError, ForkedProcessError.
        """
        reader = self._reader
        reader.check_process()
        slides = window == "window"
        diagnoser, larger = (
            None if second is None else Follower(second, profile, window=slides)
            for second in (self._diagnoser, self._larger)
        )
        wanted = diagnose and (diagnoser is not None or reader.judge.fields is not None)
        track = Track.begin(reader.encoder, profile)
        follow_up = FollowUp(self._background, diagnoser, larger, wanted)
        return self.reading(window=slides), track, follow_up

    def check_process(self) -> None:
        """Raises ForkedProcessError in a child of fork()."""
        self._reader.check_process()

    def reading(self, *, window: bool) -> Reading:
        """The reading of a new session."""
        reader = self._reader
        looks = None if self._escalation is None else self._escalation.looks()
        screening = None if self._screen is None else Screening(self._screen)
        if not window:
            return Reading(reader, None, looks=looks, screening=screening)
        fields = reader.judge.fields
        room = reader.room - (fields.longest if fields is not None else 0)
        sliding = Window(reader.encoder, room)
        return Reading(reader, sliding, looks=looks, screening=screening)

    def moderate(
        self,
        trajectory: TrajectoryLike,
        *,
        progress: Progress | None = None,
        diagnose: bool = False,
    ) -> list[Verdict]:
        """A verdict per agent action, or one at the end where there is none; reads all at once.

        The same bits as pushing its steps one by one.

        Args:
            trajectory: a Trajectory, or `{"profile": ..., "contents": [...]}`.
            progress: called now and then with tokens read and tokens to read.
            diagnose: give every unsafe verdict its diagnosis, which is done when this returns. The
                steps are then read one after the other; so they are where a larger guard is asked
                about unsure verdicts, whose answer (`Verdict.second`) is then there, too.

        Raises:
            TrajectoryError: it is of the wrong form, or has no steps.
            TaxonomyError: `diagnose`, and the guard was exported without labels.
            EngineClosed, ForkedProcessError: the guard cannot read any more.
        """
        return self.moderate_many([trajectory], progress=progress, diagnose=diagnose)[0]

    def moderate_many(
        self,
        trajectories: Iterable[TrajectoryLike],
        *,
        progress: Progress | None = None,
        diagnose: bool = False,
    ) -> list[list[Verdict]]:
        """`moderate` for many, which share forward passes; as many at once as memory has room for.

        `progress` counts the tokens of the trajectories that were begun; trajectories that are
        done, where answers are written. With `diagnose`, or a larger guard, they are read one after
        the other.
        """
        self._reader.check_process()
        self._reader.judge.check_verdicts()
        found = [as_trajectory(item) for item in trajectories]
        if diagnose:
            self.require_labels()
        session = partial(self.session, diagnose=diagnose)
        if diagnose or self._larger is not None:
            return follow_each(self._reader, found, session, progress)
        if self._reader.judge.writes or self._escalation is not None:
            return write_together(found, session, progress)
        return read_together(self._reader, found, progress, self._screen)

    def hidden_rows(
        self, trajectories: Iterable[TrajectoryLike], *, progress: Progress | None = None
    ) -> list[HiddenRows]:
        """What heads are fitted on: the model's last row wherever `moderate_many` would judge.

        They are of the mode's question, and share forward passes. Raises what `moderate_many`
        raises.
        """
        self._reader.check_process()
        plans = [asks_of(self._reader.encoder, as_trajectory(item)) for item in trajectories]
        make = partial(rows_of, self._reader.judge)
        return Queue(self._reader, progress, make).run(plans)
