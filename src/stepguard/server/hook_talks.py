"""The trajectories that hooks tell of, one event at a time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from stepguard.errors import SessionClosed, VerdictError
from stepguard.policy import Decision
from stepguard.policy.decision import Cause, blocked
from stepguard.prompt import Step
from stepguard.server.hook_events import HookEvent
from stepguard.server.work import Due
from stepguard.session import Session
from stepguard.taxonomy import Verdict

Key = tuple[str, ...]
Decide = Callable[[Verdict], Decision]
Record = Callable[[Decision], Decision]

# Calls of one turn that overtake each other between check and commit.
_TRIES = 32
_MOST_CALLS = 1024


class HookTalk:
    """One trajectory. Its calls may come from several threads at once."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.used = time.monotonic()
        self._begun: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def act(self, step: Step, call: str, due: Due, decide: Decide, record: Record) -> Decision:
        """What becomes of a call that is about to run, as it was recorded.

        An allowed call is part of the trajectory from now on, so that the next one, even of the
        same turn, is judged with it: two calls that are harmful only together never both pass.
        """
        for _ in range(_TRIES):
            verdict = self.session.check(step, deadline_ms=due.left_ms)
            decision = decide(verdict)
            try:
                if not decision.allowed:
                    self.session.reject(verdict)
                    return record(decision)
                self.session.commit(verdict)
            except VerdictError:  # another call was committed meanwhile
                if not decision.allowed:
                    return record(decision)
                continue
            recorded = record(decision)
            if recorded.allowed:
                self._begin(call)
            else:
                with contextlib.suppress(VerdictError):  # others came after it: it stays
                    self.session.reject(verdict)
            return recorded
        return record(blocked(decision, "busy", Cause.BUSY))  # others went first all the time

    def done(self, event: HookEvent, due: Due) -> None:
        """A call has run: its result, and before it the call itself where it is not known yet."""
        if event.step is not None and not self._end(event.call):
            self.session.observe(event.step, deadline_ms=due.left_ms)
        if event.result is not None:
            self.session.observe(event.result, deadline_ms=due.left_ms)

    def _begin(self, call: str) -> None:
        if not call:
            return
        with self._lock:
            self._begun[call] = None
            while len(self._begun) > _MOST_CALLS:
                self._begun.popitem(last=False)

    def _end(self, call: str) -> bool:
        with self._lock:
            return self._begun.pop(call, self) is None


class HookTalks:
    """All of them, by host, user, session and agent. Used by several threads."""

    def __init__(self, make: Callable[[], Session], most: int, idle_s: float) -> None:
        self._make, self._most, self._idle_s = make, most, idle_s
        self._open: OrderedDict[Key, HookTalk] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def get(self, key: Key) -> HookTalk:
        """The trajectory of a key, begun where it is new. The one that was not used for the longest
        time makes room."""
        with self._lock:
            talk = self._open.get(key)
            if talk is None:
                talk = self._open[key] = HookTalk(self._make())
            talk.used = time.monotonic()
            self._open.move_to_end(key)
            over = [self._open.popitem(last=False)[1] for _ in range(len(self._open) - self._most)]
        for old in over:
            old.session.close()
        return talk

    def act(
        self, key: Key, step: Step, call: str, due: Due, decide: Decide, record: Record
    ) -> Decision:
        """`HookTalk.act` on the trajectory of a key."""
        try:
            return self.get(key).act(step, call, due, decide, record)
        except SessionClosed:  # it made room, or was idle, in this very moment
            return self.get(key).act(step, call, due, decide, record)

    def observe(self, key: Key, event: HookEvent, due: Due) -> None:
        """What happened, for the trajectory of a key."""
        talk = self.get(key)
        if event.kind == "done":
            talk.done(event, due)
        elif event.step is not None:
            talk.session.observe(event.step, deadline_ms=due.left_ms)

    def end(self, key: Key) -> None:
        """Lets go of a trajectory; of a whole session, those of its agents too."""
        with self._lock:
            gone = [
                one for one in self._open if one == key or (not key[-1] and one[:-1] == key[:-1])
            ]
            talks = [self._open.pop(one) for one in gone]
        for talk in talks:
            talk.session.close()

    def reap(self) -> None:
        """Lets go of those that nobody has used for long."""
        late = time.monotonic() - self._idle_s
        with self._lock:
            gone = [key for key, talk in self._open.items() if talk.used < late]
            talks = [self._open.pop(key) for key in gone]
        for talk in talks:
            talk.session.close()

    def close_all(self) -> None:
        """Lets go of all."""
        with self._lock:
            talks = list(self._open.values())
            self._open.clear()
        for talk in talks:
            talk.session.close()
