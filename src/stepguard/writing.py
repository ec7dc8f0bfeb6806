"""Writing greedily: chains of one-token segments, for many sessions at once.

Threads that want something written join in: one of them leads a step for all that is under way,
and the next step another one may lead. So there is no thread of its own, and what several sessions
write shares every forward.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stepguard.errors import EngineClosed
from stepguard.runtime import Result, Segment, State
from stepguard.track import Ids

# Reads segments once and waits; and lets go of an idle State, False when there is none.
Run = Callable[[Sequence[Segment]], list[Result]]
MakeRoom = Callable[[], bool]


@dataclass(eq=False)
class Writing:
    """One answer under way.

    `state` stands after all that is read, `next` is the token that follows. rows: int32 [r] output
    rows that are read at every token; `logits` has float32 [r] for each place where a token was
    chosen. stop: ids that end it. limit: most tokens. until: a time of `time.monotonic`, or None.
    `reason` says why there is no answer: like the engine's, or `no_verdict` for too long a one.
    """

    state: State | None
    next: int
    logits: list[npt.NDArray[np.float32]]
    rows: Ids
    stop: frozenset[int]
    limit: int
    until: float | None = None
    ids: list[int] = field(default_factory=list)
    done: bool = False
    reason: str = ""
    message: str = ""

    @classmethod
    def of(cls, asked: Result, rows: Ids, stop: frozenset[int], limit: int) -> Writing:
        """Begins after a question that was read with `keep`, `rows` and `next`."""
        logits = [np.array(asked.logits, np.float32)]
        writing = cls(asked.state, asked.next, logits, rows, stop, limit)
        if asked.reason:
            writing.end(asked.reason, asked.message)
        else:
            writing._take_token()
        return writing

    def end(self, reason: str = "", message: str = "") -> None:
        """Ends it, and lets go of what was read."""
        self.done, self.reason, self.message, self.state = True, reason, message, None

    def segment(self) -> Segment:
        """The next link of the chain."""
        assert self.state is not None  # only what is under way has a next link
        token = np.array(self.ids[-1:], np.int32)
        return Segment(token, self.state, consume=True, read=self.rows, next=True)

    def take(self, result: Result) -> None:
        """What came of it."""
        if result.reason:
            self.end(result.reason, result.message)
            return
        self.state, self.next = result.state, result.next
        self.logits.append(np.array(result.logits, np.float32))
        self._take_token()

    def _take_token(self) -> None:
        if self.next in self.stop:
            self.end()
        elif len(self.ids) == self.limit:
            self.end("no_verdict", f"the answer has no end after {self.limit} tokens")
        else:
            self.ids.append(self.next)


class Scribe:
    """Writes for all sessions of a guard. Threads may share it."""

    def __init__(self, run: Run, make_room: MakeRoom) -> None:
        self._run, self._make_room = run, make_room
        self._turn = threading.Condition()
        self._under_way: list[Writing] = []
        self._led = False

    def write(self, writings: Sequence[Writing]) -> None:
        """Writes them to their ends; each has its answer or its reason then.

        Raises:
            EngineClosed: the guard was closed before.
        """
        with self._turn:
            self._under_way += [writing for writing in writings if not writing.done]
        try:
            while self._lead_or_wait(writings):
                self._step()
        finally:
            with self._turn:
                mine = set(map(id, writings))
                self._under_way = [w for w in self._under_way if id(w) not in mine]

    def _lead_or_wait(self, writings: Sequence[Writing]) -> bool:
        """True when this thread leads the next step, False when all of its own are done."""
        with self._turn:
            while self._led and not all(writing.done for writing in writings):
                self._turn.wait()
            if all(writing.done for writing in writings):
                return False
            self._led = True
            return True

    def _step(self) -> None:
        """One token more for all that is under way."""
        batch: list[Writing] = []
        try:
            with self._turn:
                now = time.monotonic()
                for writing in self._under_way:
                    if writing.until is not None and now >= writing.until:
                        writing.end("deadline", "the time given to the call ran out")
                batch = self._under_way = [w for w in self._under_way if not w.done]
                batch = list(batch)
            if batch:
                results = self._run([writing.segment() for writing in batch])
                short = any(result.reason == "memory" for result in results)
                again = short and self._make_room()
                for writing, result in zip(batch, results, strict=True):
                    # What found no room reads its token in the next step, where others made some.
                    if not (again and result.reason == "memory"):
                        writing.take(result)
        except BaseException as error:
            # What others write must not wait for a thread that was interrupted.
            reason = "closing" if isinstance(error, EngineClosed) else "internal"
            for writing in batch:
                writing.end(reason, str(error) or type(error).__name__)
            raise
        finally:
            with self._turn:
                self._led = False
                self._turn.notify_all()
