"""A trajectory that is read while it happens."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from stepguard.call import Call
from stepguard.calls import Calls
from stepguard.prompt import Step
from stepguard.taxonomy import Diagnosis, Turn, Verdict
from stepguard.twins import Twins


class Session(Calls, Twins):
    """Made by `Guard.session`. Calls of several threads are done one after another.

    A step that was handed in is never skipped: what could not be read is owed, and the next call
    reads it first. Nothing that happens while reading is raised; it is the verdict's status.
    `deadline_ms` counts from the call; when it passes, the answer is `unavailable(deadline)`, and
    what was read by then is kept.
    """

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
        call = Call.begin()
        with self._turn(call):
            check, before = self._checks.take(verdict), self._track
            self._move(check.track or self._reading.ahead(before, check.step, call)[1])
            self._reading.put(self._track, check.step)
            self._checks.moved(before, verdict)
            self._reading.keep_only(self._in_use())

    def reject(self, verdict: Verdict, note: str | None = None) -> None:
        """Drops a checked step, or the step that was committed last, so that it poisons nothing.

        note: what the agent was told instead; it becomes a step of the environment. Raises what
        `commit` raises.
        """
        told = None if note is None else Step.environment(note)
        call = Call.begin()
        with self._turn(call):
            before = self._checks.drop(verdict)
            if before is not None:
                self._track = before
            if told is not None:
                self._add(told, call)
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

    def diagnose(self, *, deadline_ms: float | None = None, top: int = 1) -> Diagnosis:
        """Where the risk comes from, how the agent fails and what harm follows, label by label.

        Meant for a trajectory that is unsafe where it stands. Every dimension is asked on the best
        labels of those before it, or averaged over the `top` likeliest answers so far, which costs
        up to `top` times as many tokens. What keeps it from being complete is its `reason`.

        Raises:
            TaxonomyError: the guard was exported without labels of a diagnosis.
            ValueError: `top` is less than 1. And what `observe` raises.
        """
        return self._diagnose(top, Call.begin(deadline_ms))

    def screened(self) -> tuple[Verdict, ...]:
        """What the guard's screen says about the tool results so far, safe ones too; mode "screen".

        Right after `observe` the last one is the verdict on that result, before the agent sees it.
        Those that were not read in time are `unavailable(deadline)`, and read with the next call.
        Raises what `commit` raises.
        """
        with self._turn(Call.begin()):
            return self._reading.found(self._track)

    def rationale(self, verdict: Verdict) -> Future[Verdict] | None:
        """What the guard writes about a verdict that came before it could be written.

        Only of a guard that escalates. The future's verdict has mode "rationale" and may be
        unavailable; it changes nothing about the trajectory. None where nothing is being written:
        the verdict is safe, or was written itself. `asyncio.wrap_future` makes it awaitable.
        Raises ForkedProcessError in a child of fork(), where it would never be done.
        """
        self._reading.check_process()
        return self._reading.rationale(verdict)

    def fork(self) -> Session:
        """A session that goes on from here by itself. What is read is shared, open checks are not.

        Raises what `commit` raises.
        """
        with self._turn(Call.begin()):
            reading = self._reading.fork()
            follow_up = self._follow_up.fork() if self._follow_up else None
            return Session(reading, self._track, self._verdict_at, follow_up)

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
