"""Whole trajectories with what follows their verdicts: read step by step, as a session does."""

from __future__ import annotations

from collections.abc import Callable

from stepguard.prompt import Trajectory
from stepguard.session import Session
from stepguard.taxonomy import Verdict


def moderate(
    trajectory: Trajectory, session: Callable[[str], Session], watch: Callable[[], None]
) -> list[Verdict]:
    """A verdict per action, or one at the end where there is none; what follows them is done.

    session: opens one for a profile. watch: called after every step.
    """
    verdicts: list[Verdict] = []
    with session(trajectory.profile) as reading:
        for step in trajectory.steps[: _needed(trajectory)]:
            if (verdict := reading.follow(step)) is not None:
                verdicts.append(verdict)
            watch()
        verdicts = verdicts or [reading.judge()]
        for verdict in verdicts:
            for future in (verdict.diagnosis, verdict.second):
                if future is not None:
                    future.result()
                    watch()
    return verdicts


def _needed(trajectory: Trajectory) -> int:
    """How many steps have to be read: what follows the last action need not be."""
    actions = [index for index, step in enumerate(trajectory.steps) if step.is_action]
    return actions[-1] + 1 if actions else len(trajectory.steps)


def watcher(
    progress: Callable[[int, int], None] | None, read: Callable[[], int], total: int
) -> Callable[[], None]:
    """Tells `progress` how many tokens were read of about how many."""
    before = read()

    def watch() -> None:
        if progress is not None:
            progress(min(read() - before, total), total)

    return watch
