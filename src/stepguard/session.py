"""A trajectory that is read while it happens."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, get_args

from stepguard.call import Call
from stepguard.checks import Check, Checks
from stepguard.errors import SessionClosed
from stepguard.prompt import Step
from stepguard.reading import Reading
from stepguard.taxonomy import Turn, Verdict, worse
from stepguard.track import Track

VerdictAt = Literal["actions", "agent", "all"]


class Session:
    """Made by `Guard.session`. Calls of several threads are done one after another.

    A step that was handed in is never skipped: what could not be read is owed, and the next call
    reads it first. Nothing that happens while reading is raised; it is the verdict's status.
    `deadline_ms` counts from the call; when it passes, the answer is `unavailable(deadline)`, and
    what was read by then is kept.
    """

    def __init__(self, reading: Reading, track: Track, verdict_at: VerdictAt = "actions") -> None:
        if verdict_at not in get_args(VerdictAt):
            names = ", ".join(map(repr, get_args(VerdictAt)))
            raise ValueError(f"verdict_at: expected one of {names}, got {verdict_at!r}")
        self._reading = reading
        self._track = track
        self._verdict_at = verdict_at
        self._checks = Checks()
        self._waiting: deque[Step] = deque()  # handed in while another call was under way
        self._lock = threading.Lock()
        self._closed = False

    def observe(self, step: Step, *, deadline_ms: float | None = None) -> None:
        """Reads a step without asking: of the user, the environment, or an agent that only talks.

        Raises:
            SessionClosed, EngineClosed, ForkedProcessError: it can read no more.
            TypeError: `step` is no Step. ValueError: `deadline_ms` is no positive number.
        """
        self._observe(step, Call.begin(deadline_ms))

    def check(self, step: Step, *, deadline_ms: float | None = None) -> Verdict:
        """Whether the trajectory would be unsafe with this step, which is not part of it yet.

        `commit` makes it part without reading it again, `reject` drops it. Any number of checks may
        be open on one place; committing or observing a step closes them. Raises what `observe`
        raises.
        """
        return self._check(step, Call.begin(deadline_ms))

    def check_turn(
        self, thought: object, actions: Sequence[object], *, deadline_ms: float | None = None
    ) -> Turn:
        """Checks several calls of one turn in one forward pass: each alone, and all together.

        Each call gets the worse of its own verdict and the joint one, so that nothing is hidden by
        splitting it. Only `turn.joint` can be committed. Raises what `observe` raises, and
        ValueError without actions.
        """
        return self._check_turn(thought, actions, Call.begin(deadline_ms))

    def commit(self, verdict: Verdict) -> None:
        """Makes a checked step part of the trajectory. What its check could not read is owed.

        Raises:
            VerdictError: it is no open check of the session.
            SessionClosed, ForkedProcessError: as in `observe`.
        """
        with self._turn(Call.begin()):
            check, before = self._checks.take(verdict), self._track
            self._move(check.track or before.extend(self._reading.encoder, check.step))
            self._checks.moved(before, verdict)
            self._reading.keep_only(self._in_use())

    def reject(self, verdict: Verdict, note: str | None = None) -> None:
        """Drops a checked step, or the step that was committed last, so that it poisons nothing.

        note: what the agent was told instead; it becomes a step of the environment. Raises what
        `commit` raises.
        """
        told = None if note is None else Step.environment(note)
        with self._turn(Call.begin()):
            before = self._checks.drop(verdict)
            if before is not None:
                self._track = before
            if told is not None:
                self._move(self._track.extend(self._reading.encoder, told))
            self._reading.keep_only(self._in_use())

    def push(self, step: Step, *, deadline_ms: float | None = None) -> Verdict:
        """`check` and `commit`: reads a step and answers whether the trajectory is unsafe with it.

        Meant for the agent's actions, before they run; after any other step it answers too. Raises
        what `observe` raises.
        """
        return self._push(step, Call.begin(deadline_ms))

    def follow(self, step: Step, *, deadline_ms: float | None = None) -> Verdict | None:
        """`push` where the session's `verdict_at` wants a verdict, else `observe` and None."""
        return self._follow(step, Call.begin(deadline_ms))

    def peek(self, partial: Step, *, deadline_ms: float | None = None) -> Verdict:
        """The verdict on a step that is still being written; nothing of it is kept."""
        return self._peek(partial, Call.begin(deadline_ms))

    def judge(self, *, deadline_ms: float | None = None) -> Verdict:
        """The verdict where the trajectory stands, without a new step."""
        return self._judge(Call.begin(deadline_ms))

    def fork(self) -> Session:
        """A session that goes on from here by itself. What is read is shared, open checks are not.

        Raises what `commit` raises.
        """
        with self._turn(Call.begin()):
            return Session(self._reading.fork(), self._track, self._verdict_at)

    async def aobserve(self, step: Step, *, deadline_ms: float | None = None) -> None:
        """`observe` on a thread. Cancelling the wait does not undo the step."""
        await asyncio.to_thread(self._observe, step, Call.begin(deadline_ms))

    async def acheck(self, step: Step, *, deadline_ms: float | None = None) -> Verdict:
        """`check` on a thread."""
        return await asyncio.to_thread(self._check, step, Call.begin(deadline_ms))

    async def acheck_turn(
        self, thought: object, actions: Sequence[object], *, deadline_ms: float | None = None
    ) -> Turn:
        """`check_turn` on a thread."""
        call = Call.begin(deadline_ms)
        return await asyncio.to_thread(self._check_turn, thought, actions, call)

    async def acommit(self, verdict: Verdict) -> None:
        """`commit` on a thread: it waits for a call of another thread."""
        await asyncio.to_thread(self.commit, verdict)

    async def areject(self, verdict: Verdict, note: str | None = None) -> None:
        """`reject` on a thread."""
        await asyncio.to_thread(self.reject, verdict, note)

    async def apush(self, step: Step, *, deadline_ms: float | None = None) -> Verdict:
        """`push` on a thread. Cancelling the wait does not undo the step."""
        return await asyncio.to_thread(self._push, step, Call.begin(deadline_ms))

    async def afollow(self, step: Step, *, deadline_ms: float | None = None) -> Verdict | None:
        """`follow` on a thread. Cancelling the wait does not undo the step."""
        return await asyncio.to_thread(self._follow, step, Call.begin(deadline_ms))

    async def apeek(self, partial: Step, *, deadline_ms: float | None = None) -> Verdict:
        """`peek` on a thread."""
        return await asyncio.to_thread(self._peek, partial, Call.begin(deadline_ms))

    async def ajudge(self, *, deadline_ms: float | None = None) -> Verdict:
        """`judge` on a thread."""
        return await asyncio.to_thread(self._judge, Call.begin(deadline_ms))

    async def afork(self) -> Session:
        """`fork` on a thread."""
        return await asyncio.to_thread(self.fork)

    async def aclose(self) -> None:
        """`close` on a thread."""
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Lets go of what was read; waits for a call that is under way. May be called twice."""
        if self._reading.is_foreign_process():
            return
        with self._lock:
            self._closed = True
            self._checks.moved()
            self._waiting.clear()
            self._reading.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _turn(self, call: Call) -> Iterator[bool]:
        """One call at a time, in the right process, on an open session.

        Gives False where another call is still under way when this one's time is over.
        """
        self._reading.check_process()
        if not self._lock.acquire(timeout=call.left):
            yield False
            return
        try:
            if self._closed:
                raise SessionClosed("the session", expected="an open one", got="a closed one")
            while self._waiting:
                self._move(self._track.extend(self._reading.encoder, self._waiting.popleft()))
            yield True
        finally:
            self._lock.release()

    def _move(self, track: Track) -> None:
        """The border goes on: what is not read of it is owed."""
        self._track = self._reading.fit(track)
        self._checks.moved()

    def _in_use(self) -> set[Track]:
        return {self._track, *self._checks.tracks()}

    def _observe(self, step: Step, call: Call) -> None:
        _require_step(step)
        with self._turn(call) as mine:
            if not mine:
                self._waiting.append(step)
                return
            self._move(self._track.extend(self._reading.encoder, step))
            self._reading.observe(self._track, call)
            self._reading.keep_only(self._in_use())

    def _push(self, step: Step, call: Call) -> Verdict:
        _require_step(step)
        with self._turn(call) as mine:
            if not mine:
                self._waiting.append(step)
                return self._reading.too_late(self._track, call)
            before = self._track
            self._move(before.extend(self._reading.encoder, step))
            (verdict,) = self._reading.ask(self._track, [self._track], call, keep=1)
            self._checks.moved(before, verdict)
            self._reading.keep_only(self._in_use())
            return verdict

    def _check(self, step: Step, call: Call) -> Verdict:
        _require_step(step)
        with self._turn(call) as mine:
            if not mine:
                verdict = self._reading.too_late(self._track, call)
                self._checks.add(Check(verdict, step, None))
                return verdict
            track = self._ahead(step)
            (verdict,) = self._reading.ask(self._track, [track], call, keep=1)
            self._checks.add(Check(verdict, step, track))
            self._reading.keep_only(self._in_use())
            return verdict

    def _check_turn(self, thought: object, actions: Sequence[object], call: Call) -> Turn:
        if isinstance(actions, str) or len(actions) == 0:
            raise ValueError("actions: expected a list of at least one, got none or a string")
        steps = [Step.agent(thought, action) for action in actions]
        joint = Step.agent(thought, _together(actions)) if len(steps) > 1 else steps[0]
        with self._turn(call) as mine:
            if not mine:
                late = self._reading.too_late(self._track, call)
                self._checks.add(Check(late, joint, None))
                return Turn(late, tuple(dataclasses.replace(late) for _ in steps))
            track = self._ahead(joint)
            base, encoder = self._track, self._reading.encoder
            alone = [base.extend(encoder, step) for step in steps if step is not joint]
            verdict, *own = self._reading.ask(base, [track, *alone], call, keep=1)
            self._checks.add(Check(verdict, joint, track))
            self._reading.keep_only(self._in_use())
            # Copies: a call's verdict must never pass for the joint one, which can be committed.
            calls = (worse(verdict, one) for one in own or [verdict])
            return Turn(verdict, tuple(dataclasses.replace(call) for call in calls))

    def _follow(self, step: Step, call: Call) -> Verdict | None:
        _require_step(step)
        wanted = {"all": True, "agent": step.role == "agent", "actions": step.is_action}
        if wanted[self._verdict_at]:
            return self._push(step, call)
        self._observe(step, call)
        return None

    def _peek(self, partial: Step, call: Call) -> Verdict:
        _require_step(partial)
        with self._turn(call) as mine:
            if not mine:
                return self._reading.too_late(self._track, call)
            track = self._ahead(partial)
            (verdict,) = self._reading.ask(self._track, [track], call, keep=0)
            self._reading.keep_only(self._in_use())
            return verdict

    def _judge(self, call: Call) -> Verdict:
        with self._turn(call) as mine:
            if not mine:
                return self._reading.too_late(self._track, call)
            (verdict,) = self._reading.ask(self._track, [self._track], call, keep=1)
            self._reading.keep_only(self._in_use())
            return verdict

    def _ahead(self, step: Step) -> Track:
        """The track with one more step; a window that must move for it moves the border too."""
        track = self._track.extend(self._reading.encoder, step)
        fitted = self._reading.fit(track)
        if fitted is not track and fitted.above is not None:
            self._track = fitted.above
        return fitted


def _together(actions: Sequence[object]) -> object:
    """The action of a step that makes several calls."""
    texts = [action for action in actions if isinstance(action, str)]
    return "\n".join(texts) if len(texts) == len(actions) else list(actions)


def _require_step(step: object) -> None:
    """None is no step either: a caller's slip must not become a verdict."""
    if not isinstance(step, Step):
        raise TypeError(f"step: expected a stepguard.Step, got {type(step).__name__}")
