"""The calls of a session, each in its turn: what they read, and what they answer in time."""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, get_args

from stepguard.call import Call
from stepguard.checks import Check, Checks, Waiting
from stepguard.diagnose import LATE
from stepguard.errors import SessionClosed
from stepguard.follow_up import FollowUp, diagnose_with
from stepguard.prompt import Step
from stepguard.prompt.patience import OutOfTime
from stepguard.reading import Reading
from stepguard.taxonomy import Diagnosis, Reason, Turn, Verdict, worse
from stepguard.track import Track

VerdictAt = Literal["actions", "agent", "all"]


class Calls:
    """For a session to inherit."""

    def __init__(
        self,
        reading: Reading,
        track: Track,
        verdict_at: VerdictAt = "actions",
        follow_up: FollowUp | None = None,
    ) -> None:
        if verdict_at not in get_args(VerdictAt):
            names = ", ".join(map(repr, get_args(VerdictAt)))
            raise ValueError(f"verdict_at: expected one of {names}, got {verdict_at!r}")
        self._reading = reading
        self._track = track
        self._verdict_at = verdict_at
        self._follow_up = follow_up
        self._checks = Checks()
        self._waiting: deque[Waiting] = deque()
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def _turn(self, call: Call) -> Iterator[None]:
        """One call at a time, in the right process, on an open session, nothing waiting before it.

        Raises OutOfTime where that cannot be had in the call's time.
        """
        self._reading.check_process()
        if not self._lock.acquire(timeout=call.left):
            raise OutOfTime("another call is under way")
        try:
            if self._closed:
                raise SessionClosed("the session", expected="an open one", got="a closed one")
            while self._waiting:
                before, waited = self._track, tuple(self._waiting)
                self._track = self._reading.ahead(before, waited[0].step, call)[1]
                self._reading.put(self._track, waited[0].step)
                self._checks.moved(before, waited[0].verdict, waited)
                self._waiting.popleft()
            yield
        finally:
            self._lock.release()

    def _move(self, track: Track) -> None:
        """The border goes on: what is not read of it is owed."""
        self._track = track
        self._checks.moved()

    def _add(self, step: Step, call: Call) -> None:
        self._move(self._reading.ahead(self._track, step, call)[1])
        self._reading.put(self._track, step)

    def _in_use(self) -> set[Track]:
        return {self._track, *self._checks.tracks()}

    def _last_waiting(self) -> Waiting | None:
        waiting = tuple(self._waiting)  # other threads may take from it
        return waiting[-1] if waiting else None

    def _late(self, call: Call, steps: int) -> Verdict:
        """The answer on that many steps which were not rendered in time."""
        return self._reading.too_late(self._track, call, len(self._waiting) + steps)

    def _observe(self, step: Step, call: Call) -> None:
        _require_step(step)
        try:
            with self._turn(call):
                self._add(step, call)
                self._reading.observe(self._track, call)
                self._reading.keep_only(self._in_use())
        except OutOfTime:
            self._waiting.append(Waiting(step, None))

    def _push(self, step: Step, call: Call) -> Verdict:
        _require_step(step)
        try:
            with self._turn(call):
                before = self._track
                self._add(step, call)
                (verdict,) = self._reading.ask(self._track, [self._track], call, keep=1)
                verdict = self._followed(verdict, self._track)
                self._checks.moved(before, verdict)
                self._reading.keep_only(self._in_use())
        except OutOfTime:
            verdict = self._late(call, 1)
            self._waiting.append(Waiting(step, verdict))
        return verdict

    def _check(self, step: Step, call: Call) -> Verdict:
        _require_step(step)
        try:
            with self._turn(call):
                base, track = self._reading.ahead(self._track, step, call)
                (verdict,) = self._reading.ask(base, [track], call, keep=1)
                verdict = self._followed(verdict, track)
                self._checks.add(Check(verdict, step, track))
                self._reading.keep_only(self._in_use())
        except OutOfTime:
            verdict = self._late(call, 1)
            self._checks.add(Check(verdict, step, None, self._last_waiting()))
        return verdict

    def _check_turn(self, thought: object, actions: Sequence[object], call: Call) -> Turn:
        if isinstance(actions, str) or len(actions) == 0:
            raise ValueError("actions: expected a list of at least one, got none or a string")
        steps = [Step.agent(thought, action) for action in actions]
        joint = joint_step(thought, actions) if len(steps) > 1 else steps[0]
        try:
            with self._turn(call):
                base, track = self._reading.ahead(self._track, joint, call)
                others = [step for step in steps if step is not joint]
                alone = [self._reading.beside(base, step, call) for step in others]
                verdict, *own = self._reading.ask(base, [track, *alone], call, keep=1)
                verdict = self._followed(verdict, track)
                own = [self._followed(*pair) for pair in zip(own, alone, strict=True)]
                self._checks.add(Check(verdict, joint, track))
                self._reading.keep_only(self._in_use())
        except OutOfTime:
            verdict, own = self._late(call, 1), []
            self._checks.add(Check(verdict, joint, None, self._last_waiting()))
        # Copies: a call's verdict must never pass for the joint one, which can be committed.
        each = [worse(verdict, one) for one in own] or [verdict] * len(steps)
        return Turn(verdict, tuple(dataclasses.replace(call) for call in each))

    def _follow(self, step: Step, call: Call) -> Verdict | None:
        _require_step(step)
        wanted = {"all": True, "agent": step.role == "agent", "actions": step.is_action}
        if wanted[self._verdict_at]:
            return self._push(step, call)
        self._observe(step, call)
        return None

    def _peek(self, partial: Step, call: Call) -> Verdict:
        _require_step(partial)
        try:
            with self._turn(call):
                base, track = self._reading.ahead(self._track, partial, call)
                (verdict,) = self._reading.ask(base, [track], call, keep=0)
                self._reading.keep_only(self._in_use())
                return verdict
        except OutOfTime:
            return self._late(call, 1)

    def _judge(self, call: Call) -> Verdict:
        try:
            with self._turn(call):
                (verdict,) = self._reading.ask(self._track, [self._track], call, keep=1)
                self._reading.keep_only(self._in_use())
                return self._followed(verdict, self._track)
        except OutOfTime:
            return self._late(call, 0)

    def _followed(self, verdict: Verdict, track: Track) -> Verdict:
        if self._follow_up is None:
            return verdict
        return self._follow_up.after(verdict, track, self._reading)

    def _diagnose(self, top: int, call: Call) -> Diagnosis:
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise ValueError(f"top: expected a whole number from 1 up, got {top!r}")
        follower = self._follow_up.diagnoser if self._follow_up else None
        if follower is None:
            return self._diagnose_here(top, call)
        try:
            with self._turn(call):
                track = self._track
        except OutOfTime:
            return follower.no_diagnosis(call, top, Reason.DEADLINE, LATE)
        return diagnose_with(follower, track, call, top)

    def _diagnose_here(self, top: int, call: Call) -> Diagnosis:
        fields = self._reading.fields
        try:
            with self._turn(call):
                diagnosis = self._reading.diagnose(fields, self._track, call, top)
                self._reading.keep_only(self._in_use())
                return diagnosis
        except OutOfTime:
            late = Reason.DEADLINE
            return self._reading.no_labels(fields, self._track, call, top, late, LATE)


def joint_step(thought: object, actions: Sequence[object]) -> Step:
    """The step in which an agent makes all these calls; `Session.check_turn` asks about it."""
    return Step.agent(thought, _together(actions) if len(actions) > 1 else actions[0])


def _together(actions: Sequence[object]) -> object:
    """The action of a step that makes several calls."""
    texts = [action for action in actions if isinstance(action, str)]
    return "\n".join(texts) if len(texts) == len(actions) else list(actions)


def _require_step(step: object) -> None:
    """None is no step either: a caller's slip must not become a verdict."""
    if not isinstance(step, Step):
        raise TypeError(f"step: expected a stepguard.Step, got {type(step).__name__}")
