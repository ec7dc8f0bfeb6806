"""One conversation: the steps that it has read, and where it can go on from."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from stepguard.call import Call
from stepguard.conversations.content import Blocked, Digest, Item, common, of_step
from stepguard.follow_up import FollowUp
from stepguard.messages import Entry, with_calls
from stepguard.prompt import Step
from stepguard.prompt.patience import OutOfTime
from stepguard.reading import Reading
from stepguard.taxonomy import Turn, Verdict, worse
from stepguard.track import Track

# Borders whose States are kept beside the newest: for edits and forks that go back to them.
_ANCHORS = 4


@dataclass(frozen=True, slots=True)
class Mark:
    """A border: the digest of all that leads to it, and its track."""

    digest: Digest
    track: Track


class Kept:
    """Not thread-safe: one call at a time. `marks` may be read by others, it is only replaced."""

    def __init__(
        self,
        profile: Digest,
        begin: Track,
        reading: Reading,
        follow_up: FollowUp,
        blocked: Blocked,
        marks: tuple[Mark, ...] = (),
    ) -> None:
        self.profile, self.begin, self.marks = profile, begin, marks
        self.reading, self._follow_up = reading, follow_up
        self.blocked = blocked
        self._anchors: list[Track] = []
        self._answer: tuple[Digest, Turn] | None = None

    def same(self, digests: Sequence[Digest]) -> tuple[int, int]:
        """How many tokens of these steps it has a State for, and how many steps it shares."""
        shared = common([mark.digest for mark in self.marks], digests)
        return self.reading.have(self._track(shared)), shared

    def fork(self, shared: int, blocked: Blocked) -> Kept:
        """A conversation that goes on from one of the borders by itself."""
        begin, marks = self.begin, self.marks[:shared]
        reading, follow_up = self.reading.fork(), self._follow_up.fork()
        other = Kept(self.profile, begin, reading, follow_up, blocked, marks)
        reading.keep_only({begin, other._track(shared)})
        return other

    def render(self, entries: Sequence[Entry], call: Call) -> None:
        """Renders what is new of a trajectory, as far as the time allows."""
        with contextlib.suppress(OutOfTime):
            self._go(entries, call)

    def observe(self, entries: Sequence[Entry], call: Call) -> None:
        """Reads what is new of a trajectory."""
        with contextlib.suppress(OutOfTime):
            end = self._go(entries, call)
            self.reading.observe(self.begin, call)
            self.reading.observe(end, call)
            self._keep([end])

    def judge(self, entries: Sequence[Entry], asked: Entry | None, call: Call) -> Turn:
        """The verdicts on what an agent is about to do at the end of a trajectory.

        asked: None asks about the trajectory as it stands. Nothing is read for a question that was
        answered before.
        """
        digest = self.digests([*entries, *([] if asked is None else [asked])])
        whole = digest[-1] if digest else self.profile
        if self._answer is not None and self._answer[0] == whole:
            return _again(self._answer[1], call)
        try:
            end = self._go(entries, call)
            self.reading.observe(self.begin, call)  # kept for all that begin with this profile
            turn = self._ask_end(end, call) if asked is None else self._ask(end, asked, whole, call)
        except OutOfTime:
            unseen = len(digest) - len(self.marks)
            verdict = self.reading.too_late(self._track(len(self.marks)), call, unseen)
            return Turn(verdict, (verdict,) * max(1, len(asked.calls) if asked else 1))
        known = all(one.reason is None for one in (turn.joint, *turn.calls))
        self._answer = (whole, turn) if known else None
        return turn

    def decided(self, item: Item, ran: bool, calls: Sequence[int]) -> None:
        """Whether these calls of an agent's step ran."""
        for index in calls:
            call = item.entry.calls[index]
            (self.blocked.discard if ran else self.blocked.add)(item, call)

    def close(self) -> None:
        """Lets go of everything."""
        self.reading.close()

    def _track(self, shared: int) -> Track:
        return self.marks[shared - 1].track if shared else self.begin

    def digests(self, entries: Sequence[Entry]) -> list[Digest]:
        steps = (entry.step for entry in entries)
        return list(accumulate(steps, of_step, initial=self.profile))[1:]

    def _go(self, entries: Sequence[Entry], call: Call) -> Track:
        """The track at the end of these steps; what of them is new is rendered. Raises OutOfTime,
        and what was rendered by then stays."""
        digests = self.digests(entries)
        shared = common([mark.digest for mark in self.marks], digests)
        marks, track = list(self.marks[:shared]), self._track(shared)
        try:
            for entry, digest in zip(entries[shared:], digests[shared:], strict=True):
                track = self.reading.ahead(track, entry.step, call)[1]
                marks.append(Mark(digest, track))
        finally:
            self.marks = tuple(marks)
        return track

    def _ask_end(self, end: Track, call: Call) -> Turn:
        (verdict,) = self.reading.ask(end, [end], call, keep=1)
        self._keep([end])
        verdict = self._follow_up.after(verdict, end, self.reading)
        return Turn(verdict, (verdict,))

    def _ask(self, end: Track, asked: Entry, digest: Digest, call: Call) -> Turn:
        """Each call alone, and all together, in one forward pass."""
        base, track = self.reading.ahead(end, asked.step, call)
        others = _alone(asked)
        alone = [self.reading.beside(base, step, call) for step in others]
        joint, *own = self.reading.ask(base, [track, *alone], call, keep=1)
        self.marks = (*self.marks, Mark(digest, track))
        self._keep([base, track])
        joint = self._follow_up.after(joint, track, self.reading)
        pairs = zip(own, alone, strict=True)
        own = [self._follow_up.after(verdict, place, self.reading) for verdict, place in pairs]
        each = [worse(joint, one) for one in own] or [joint]
        return Turn(joint, tuple(dataclasses.replace(one) for one in each))

    def _keep(self, ends: Sequence[Track]) -> None:
        """The States at the ends, at the beginning, and at some borders before."""
        path = {mark.track for mark in self.marks}
        anchors = [track for track in (*self._anchors, ends[0]) if track in path]
        anchors = list(dict.fromkeys(anchors))
        if len(anchors) > _ANCHORS:  # the first one stays: it is often all that a compaction keeps
            del anchors[1 : len(anchors) - _ANCHORS + 1]
        self._anchors = anchors
        self.reading.keep_only({self.begin, *anchors, *ends})


def _alone(asked: Entry) -> list[Step]:
    """The step with each of its calls alone; none where there is only one."""
    if len(asked.calls) < 2:
        return []
    return [with_calls(asked.step, [call]) for call in asked.calls]


def _again(turn: Turn, call: Call) -> Turn:
    """An answer that was given before: nothing was read for it."""

    def copy(verdict: Verdict) -> Verdict:
        return dataclasses.replace(verdict, tokens_read=0, latency_ms=call.passed_ms)

    return Turn(copy(turn.joint), tuple(map(copy, turn.calls)))
