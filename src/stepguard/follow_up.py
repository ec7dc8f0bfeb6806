"""What follows a verdict without delaying it: a diagnosis, or the verdict of a larger guard."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TypeVar

from stepguard.background import Background
from stepguard.call import Call
from stepguard.diagnose import LATE
from stepguard.prompt import Step
from stepguard.reading import Reading
from stepguard.second import Follower
from stepguard.taxonomy import Diagnosis, Reason, Status, Verdict
from stepguard.track import Track, runs

_T = TypeVar("_T", Verdict, Diagnosis)


@dataclass(frozen=True)
class FollowUp:
    """What a session does behind its verdicts.

    background: where unsafe verdicts are diagnosed by the guard itself; None where they are not.
    diagnoser: a second guard that does it instead. larger: one that judges what is unsure.
    unsafe: whether a diagnosis begins by itself.
    """

    background: Background
    diagnoser: Follower | None = None
    larger: Follower | None = None
    unsafe: bool = True

    def fork(self) -> FollowUp:
        """The same for a session that goes on by itself."""
        diagnoser = self.diagnoser.fork() if self.diagnoser else None
        return replace(self, diagnoser=diagnoser, larger=self.larger and self.larger.fork())

    def after(self, verdict: Verdict, track: Track, reading: Reading) -> Verdict:
        """The verdict, with futures of what follows it. reading: the session's."""
        for follower in (self.diagnoser, self.larger):
            if follower is not None:
                follower.second.ease()
        if verdict.status is Status.UNSAFE and self.unsafe:
            future = self._diagnosis(track, reading, Call.begin(), 1)
            return replace(verdict, diagnosis=future)
        unsure = verdict.status is Status.UNSURE
        if verdict.status is Status.SAFE and self.larger is not None:
            unsure = reading.doubted(track)
        if unsure and self.larger is not None:
            return replace(verdict, second=_second(self.larger, track))
        return verdict

    def _diagnosis(self, track: Track, reading: Reading, call: Call, top: int) -> Future[Diagnosis]:
        if self.diagnoser is not None:
            return _diagnosis(self.diagnoser, track, call, top)
        # A fork, so that neither waits for the other.
        fields, apart = reading.fields, reading.fork()
        apart.keep_only({track})

        def job() -> Diagnosis:
            try:
                return apart.diagnose(fields, track, call, top)
            finally:
                apart.close()

        def instead(reason: Reason, message: str) -> Diagnosis:
            apart.close()
            return apart.no_labels(fields, track, call, top, reason, message)

        return self.background.submit(job, instead)


def diagnose_with(follower: Follower, track: Track, call: Call, top: int) -> Diagnosis:
    """The second guard's diagnosis, waited for until it is due."""
    future = _diagnosis(follower, track, call, top)
    try:
        return future.result(None if call.until is None else call.left)
    except TimeoutError:
        return follower.no_diagnosis(call, top, Reason.DEADLINE, LATE)


def said(track: Track) -> list[Step]:
    """The steps that lead to a track, as far as they are in view; those in windows are whole."""
    return [step for _, step in _shown(track)]


def _shown(track: Track) -> list[tuple[int, Step]]:
    """The same with their indices; a step that the first guard reads in windows is there whole."""
    long = {} if track.aside is None else {track.aside.step: track.aside.said}
    found = ((place.step, place.said) for place in track.path())
    return [
        (index, long.get(index, step))
        for index, step in found
        if index is not None and step is not None
    ][::-1]


def _placed(answer: _T, track: Track) -> _T:
    """An answer on what `said` gives, as one on the whole trajectory: what the first guard has not
    in view any more, the second one did not see either."""
    indices, seen = [index for index, _ in _shown(track)], track.total + track.beside
    left = [indices[i] for first, last in answer.left_out for i in range(first, last + 1)]
    return replace(
        answer,
        step=track.count - 1 if track.count else None,
        coverage=answer.coverage * seen / max(1, seen + track.lost),
        left_out=runs(track.left_out, left),
    )


def _diagnosis(follower: Follower, track: Track, call: Call, top: int) -> Future[Diagnosis]:
    def instead(reason: Reason, message: str) -> Diagnosis:
        return _placed(follower.no_diagnosis(call, top, reason, message), track)

    def job() -> Diagnosis:
        if call.until is not None and call.left <= 0:
            return instead(Reason.DEADLINE, LATE)
        return _placed(follower.diagnose(said(track), call, top), track)

    return follower.second.background.submit(job, instead)


def _second(follower: Follower, track: Track) -> Future[Verdict]:
    call = Call.begin()

    def instead(reason: Reason, message: str) -> Verdict:
        return _placed(follower.no_verdict(call, reason, message), track)

    def job() -> Verdict:
        return _placed(follower.judge(said(track), call), track)

    return follower.second.background.submit(job, instead)
