"""Whole trajectories to verdicts: in shared forward passes, written, or with what follows them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from stepguard.errors import TrajectoryError
from stepguard.prompt import Trajectory
from stepguard.queue import Progress, Queue, asks_of, tokens_of, verdicts_of
from stepguard.reader import Reader
from stepguard.screen import Screen
from stepguard.screening import with_alarms
from stepguard.session import Session
from stepguard.taxonomy import Verdict

# Trajectories that are judged at once where answers are written.
_WRITERS = 8

TrajectoryLike = Trajectory | Mapping[str, Any]
# Opens a session for a profile.
Open = Callable[[str], Session]


def as_trajectory(value: TrajectoryLike) -> Trajectory:
    """What `Guard.moderate` takes. Raises TrajectoryError: of the wrong form, or without steps."""
    trajectory = value if isinstance(value, Trajectory) else Trajectory.from_dict(value)
    if not trajectory.steps:
        raise TrajectoryError("trajectory", expected="at least one step", got="none")
    return trajectory


def read_together(
    reader: Reader,
    trajectories: Sequence[Trajectory],
    progress: Progress | None,
    screen: Screen | None,
) -> list[list[Verdict]]:
    """Each is read at once, and they share forward passes."""
    plans = [asks_of(reader.encoder, item) for item in trajectories]
    verdicts = Queue(reader, progress, partial(verdicts_of, reader.judge)).run(plans)
    if screen is None:
        return verdicts
    pairs = zip(trajectories, verdicts, strict=True)
    return [with_alarms(screen, *pair) for pair in pairs]


def write_together(
    trajectories: Sequence[Trajectory], session: Open, progress: Progress | None
) -> list[list[Verdict]]:
    """A session per trajectory, some at once: what they write shares every forward."""
    done = itertools.count(1)

    def judge(trajectory: Trajectory) -> list[Verdict]:
        with session(trajectory.profile) as reading:
            found = [reading.follow(step) for step in trajectory.steps]
            verdicts = [verdict for verdict in found if verdict is not None]
            verdicts = verdicts or [reading.judge()]
        if progress is not None:
            progress(next(done), len(trajectories))
        return verdicts

    with ThreadPoolExecutor(_WRITERS) as pool:
        return list(pool.map(judge, trajectories))


def follow_each(
    reader: Reader, trajectories: Sequence[Trajectory], session: Open, progress: Progress | None
) -> list[list[Verdict]]:
    """Step by step, as a session does; what follows the verdicts is done."""
    total = sum(tokens_of(asks_of(reader.encoder, item)) for item in trajectories)
    watch = _watcher(progress, lambda: int(reader.engine.stats()["tokens"]), total)
    return [_follow(item, session, watch) for item in trajectories]


def _follow(trajectory: Trajectory, session: Open, watch: Callable[[], None]) -> list[Verdict]:
    """A verdict per action, or one at the end where there is none. watch: called every step."""
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


def _watcher(progress: Progress | None, read: Callable[[], int], total: int) -> Callable[[], None]:
    """Tells `progress` how many tokens were read of about how many."""
    before = read()

    def watch() -> None:
        if progress is not None:
            progress(min(read() - before, total), total)

    return watch
