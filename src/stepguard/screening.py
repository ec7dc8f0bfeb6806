"""What a screen finds about the tool results of one session."""

from __future__ import annotations

from dataclasses import replace

from stepguard.call import Call
from stepguard.prompt import Step, Trajectory
from stepguard.scan import Scan
from stepguard.screen import Screen
from stepguard.taxonomy import Status, Verdict


class _Look:
    """A result that was handed in, and what is read of it. Forks share it."""

    def __init__(self, scan: Scan, step: int, unreadable: int) -> None:
        self.scan, self._step, self._unreadable = scan, step, unreadable

    def verdict(self) -> Verdict:
        return self.scan.verdict(self._step, self._unreadable)


class Screening:
    """Not thread-safe: the session lets one call in at a time.

    Steps have their index in the trajectory: one that takes the place of another, which was
    rejected, takes its place here too.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._looks: dict[int, _Look] = {}
        self._actions: set[int] = set()

    def fork(self) -> Screening:
        """The same for a session that goes on from here."""
        other = Screening(self._screen)
        other._looks, other._actions = dict(self._looks), set(self._actions)
        return other

    def put(self, index: int, step: Step) -> None:
        """A step now stands at this place; one of the environment is going to be read."""
        self._looks.pop(index, None)
        self._actions.discard(index)
        if step.is_action:
            self._actions.add(index)
        elif step.role == "environment":
            text = "\n".join(text.json for _, text in step.fields)
            self._looks[index] = _Look(self._screen.scan(text), index, step.unreadable)

    def read(self, call: Call, count: int) -> None:
        """Reads on, the oldest of the first `count` steps first, until all is done or it is due."""
        for index in sorted(self._looks):
            if index >= count or not self._looks[index].scan.run(call.until):
                return

    def found(self, count: int) -> tuple[Verdict, ...]:
        """The verdicts on the results among the first `count` steps, in their order."""
        return tuple(self._looks[index].verdict() for index in sorted(self._looks) if index < count)

    def alarms(self, count: int) -> tuple[Verdict, ...]:
        """Those that are not safe."""
        return tuple(one for one in self.found(count) if one.status is not Status.SAFE)

    def suspicious(self, count: int) -> bool:
        """Whether one of the first `count` steps that came after the last action among them is not
        safe, as far as is known."""
        last = max((index for index in self._actions if index < count), default=-1)
        return any(one.step is not None and one.step > last for one in self.alarms(count))

    def add(self, verdict: Verdict, before: int, call: Call) -> Verdict:
        """The verdict, with what was found in the first `before` steps by the time it is due."""
        self.read(call, before)
        return replace(verdict, screened=self.alarms(before), latency_ms=call.passed_ms)


def with_alarms(screen: Screen, trajectory: Trajectory, verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts on a whole trajectory, each with what was found in the steps up to its own."""
    screening = Screening(screen)
    for index, step in enumerate(trajectory.steps):
        screening.put(index, step)
    screening.read(Call.begin(), len(trajectory.steps))
    counts = (0 if one.step is None else one.step + 1 for one in verdicts)
    return [
        replace(one, screened=screening.alarms(count))
        for one, count in zip(verdicts, counts, strict=True)
    ]
