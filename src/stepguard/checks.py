"""The checks of a session that wait for a decision."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from stepguard.errors import VerdictError
from stepguard.prompt import Step
from stepguard.taxonomy import Verdict
from stepguard.track import Track

# Who only checks and never decides loses the oldest.
_MOST = 64


@dataclass(frozen=True, eq=False)
class Waiting:
    """A step that was handed in, but not rendered in time; the verdict that was given on it."""

    step: Step
    verdict: Verdict | None


@dataclass(frozen=True, eq=False)
class Check:
    """A checked step. track: where it would lead; None when there was no time to find out.

    behind: then, the last step that waited before it, if any.
    """

    verdict: Verdict
    step: Step
    track: Track | None
    behind: Waiting | None = None


class Checks:
    """Verdicts are told apart by identity: two checks of one step may say the same."""

    def __init__(self) -> None:
        self._open: deque[Check] = deque(maxlen=_MOST)
        self._last: tuple[Verdict, Track] | None = None

    def add(self, check: Check) -> None:
        """Opens a check."""
        self._open.append(check)

    def moved(
        self,
        before: Track | None = None,
        verdict: Verdict | None = None,
        waited: Sequence[Waiting] = (),
    ) -> None:
        """The session went on, which closes all checks; `verdict` may still be rejected.

        waited: the step with which it went on and those that wait behind it; checks that were made
        behind these stay open.
        """
        for check in tuple(self._open):
            if not any(check.behind is step for step in waited):
                # Late checks are opened beside a call that is under way.
                with contextlib.suppress(ValueError):
                    self._open.remove(check)
        self._last = None if before is None or verdict is None else (verdict, before)

    def take(self, verdict: Verdict) -> Check:
        """The open check of a verdict. Raises VerdictError."""
        for check in tuple(self._open):
            if check.verdict is verdict:
                return check
        raise VerdictError(
            "the verdict",
            expected="an open check of the session (of a turn: the joint one)",
            got="another, or one that was decided or overtaken by a later step",
            fix="Check the step again where the session stands now.",
        )

    def drop(self, verdict: Verdict) -> Track | None:
        """Closes a check: None; or takes back the step committed last: the track before it.

        Raises VerdictError.
        """
        if self._last is not None and self._last[0] is verdict:
            before = self._last[1]
            self.moved()
            return before
        self._open.remove(self.take(verdict))
        return None

    def tracks(self) -> set[Track]:
        """Where all of them may lead or go back to."""
        found = {check.track for check in tuple(self._open) if check.track is not None}
        return found if self._last is None else {*found, self._last[1]}
