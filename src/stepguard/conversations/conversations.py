"""The one call under all hosts: a message list in, a verdict out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal, TypeVar

from stepguard.call import Call
from stepguard.conversations.line import at_turn
from stepguard.conversations.question import Question
from stepguard.conversations.slots import Slots, UnreadableError
from stepguard.conversations.turns import asked_of, same_for_all, worst
from stepguard.conversations.twins import Twins
from stepguard.errors import EngineClosed
from stepguard.guard import Guard
from stepguard.messages import read_calls
from stepguard.taxonomy import GuardId, Reason, Status, Turn, Verdict

_T = TypeVar("_T")


class Conversations(Twins):
    """Conversations with a guard, by a key of the host's. Threads may share it.

    Hosts hand over whole lists again and again, edited, compacted or forked. A list is compared
    by content with what was read before, in this conversation and in all others with the same
    profile; what is new is read, and where nothing is known, all of it. Calls of one key are done
    in the order in which they came.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        window: Literal["strict", "window"] = "window",
        most: int = 256,
        diagnose: bool = True,
        threads: int = 16,
    ) -> None:
        """window, diagnose: as in `Guard.session`. most: conversations that are kept; the one that
        was not used for longest goes. threads: of the async twins.

        Raises ValueError: `most` or `threads` is less than 1, or an unknown window.
        """
        for name, value in (("most", most), ("threads", threads)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a whole number from 1 up, got {value!r}")
        if window not in ("strict", "window"):
            raise ValueError(f"window: expected 'strict' or 'window', got {window!r}")
        self.guard = guard
        self._slots = Slots(guard, window=window, most=most, diagnose=diagnose)
        self._pool = ThreadPoolExecutor(threads, "stepguard-conversations")
        # Threads that render share the interpreter with the host's event loop: one at a time.
        self._rendering = threading.Lock()
        self._closed = False

    def moderate(
        self,
        key: str,
        messages: object,
        *,
        tools: object = None,
        deadline_ms: float | None = None,
    ) -> Verdict:
        """Whether a conversation has become unsafe.

        Asked about what the agent does at the end of the list, or about the whole where it ends in
        something else. Of several calls in one turn the worst verdict counts: see `check`.

        Args:
            key: names the conversation; any string.
            messages: all of it, in any shape that `read_messages` knows; or one `Step` more.
            tools: the agent's tools, which are part of its profile; None takes those of the key's
                last call.
            deadline_ms: when the time has passed, the answer is `unavailable(deadline)`.

        Raises:
            TrajectoryError: a message, call or tool of no known shape.
            ForkedProcessError: in a child of fork().
            TypeError, ValueError: `key` is no string, `deadline_ms` no positive number.
        """
        return worst(self.check(key, messages, tools=tools, deadline_ms=deadline_ms))

    def check(
        self,
        key: str,
        messages: object,
        calls: object = None,
        *,
        tools: object = None,
        deadline_ms: float | None = None,
    ) -> Turn:
        """The verdicts on the calls of a turn: each the worse of its own and the joint one.

        calls: those that the host is about to run; None for all at the end of the list. They may
        stand in the list or not. Where they are some of a turn's, all of it is judged, and the
        verdicts are those of `calls`. Takes and raises what `moderate` does.
        """
        call = Call.begin(deadline_ms)
        question = self.enter(key, calls, tools)
        return self._left(question, lambda: self._check(question, messages, call))

    def observe(
        self,
        key: str,
        messages: object,
        *,
        tools: object = None,
        deadline_ms: float | None = None,
    ) -> None:
        """Reads what is new without asking, so that the next verdict is there sooner.

        Takes and raises what `moderate` does.
        """
        call = Call.begin(deadline_ms)
        question = self.enter(key, tools=tools)
        self._left(question, lambda: self._observe(question, messages, call))

    def decide(self, key: str, calls: object = None, *, ran: bool) -> None:
        """Says whether calls of the turns that were judged lately ran; None for all of the last.

        A call that did not run is left out of every list that comes, and what the agent was told
        instead stays: so a blocked action poisons nothing. A call that nobody speaks of counts as
        run where a list holds it. Raises TrajectoryError where no such call was judged.
        """
        question = self.enter(key, calls)
        self._left(question, lambda: self._decide(question, ran))

    def enter(self, key: str, calls: object = None, tools: object = None) -> Question:
        """A question at the end of its key's line; `leave` has to be called in any case.

        Raises ForkedProcessError, and TypeError for a key that is no string.
        """
        slot, place = self._slots.enter(key)
        return Question(key, slot, place, calls, tools)

    def leave(self, question: Question) -> None:
        """Lets the next one of its key come. May be called twice."""
        if not question.left:
            question.left = True
            self._slots.leave(question.slot, question.place)

    def start(
        self, question: Question, job: Callable[[], _T], pool: Callable[[], Executor]
    ) -> Future[_T]:
        """Does a job on a thread once the question's turn has come, and then leaves the line."""
        return at_turn(question.place, lambda: self._left(question, job), pool)

    def ask(self, question: Question, messages: object, deadline_ms: float | None) -> Turn:
        """`check` in the question's turn. Does not leave the line."""
        return self._check(question, messages, Call.begin(deadline_ms))

    def look(self, question: Question, messages: object) -> None:
        """`observe` in the question's turn. Does not leave the line."""
        self._observe(question, messages, Call.begin())

    def forget(self, question: Question, blocked: Sequence[bool]) -> None:
        """Calls that a question asks about have not happened; see `Question.blocked`.

        Returns at once: it is done behind what has come by now, and in front of all that will come.
        Of a question whose list was never read nothing is known, and nothing is forgotten.
        """
        if not any(blocked):
            return
        own = self.enter(question.key)
        self.start(own, lambda: self._forget(own, question, blocked), lambda: self._pool)

    def _forget(self, own: Question, question: Question, blocked: Sequence[bool]) -> None:
        if own.slot.kept is not None and question.turn is not None:
            own.slot.kept.decided(question.turn, False, question.blocked(blocked))

    def _decide(self, question: Question, ran: bool) -> None:
        slot = question.slot
        question.place.wait(-1)
        if slot.kept is None or not slot.asked:
            return
        calls, last = question.calls, slot.asked[-1]
        for call in last.entry.calls if calls is None else read_calls(calls):
            item, index = slot.place_of(call)
            slot.kept.decided(item, ran, [index])

    def close(self, key: str | None = None) -> None:
        """Lets go of one conversation, or of all: then further answers are `unavailable(closing)`.

        Waits for a call that is under way.
        """
        self._closed = self._closed or key is None
        self._slots.close(key)
        if key is None:
            self._pool.shutdown(wait=False)

    def __enter__(self) -> Conversations:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._slots)

    def unavailable(self, reason: Reason, message: str, call: Call | None = None) -> Verdict:
        """A verdict for which nothing was read."""
        return Verdict(
            status=Status.UNAVAILABLE,
            guard=GuardId(model=self.guard.manifest.sha256, prompt=self.guard.prompt.id),
            mode=self.guard.mode,
            reason=reason,
            message=message,
            coverage=0.0,
            latency_ms=0.0 if call is None else call.passed_ms,
        )

    def _left(self, question: Question, job: Callable[[], _T]) -> _T:
        try:
            return job()
        finally:
            self.leave(question)

    def _check(self, question: Question, messages: object, call: Call) -> Turn:
        calls = question.calls
        try:
            with self._turn_of(question, messages, call):
                slot, wanted = question.slot, read_calls(calls)
                profile, items = slot.read(messages, question.tools)
                before, asked, indices = asked_of(profile, items, wanted, calls is not None)
                question.found(before, asked, indices)
                slot.items = (*before, *([] if asked is None else [asked]))
                kept, entries = self._slots.find(slot, profile, before)
                if asked is not None:  # who asks again about a blocked call may run it now
                    slot.asked.append(asked)
                    kept.decided(asked, True, indices)
                kept.render(entries, call)
            turn = kept.judge(entries, None if asked is None else asked.entry, call)
            return Turn(turn.joint, tuple(turn.calls[i] for i in indices) or turn.calls)
        except _NoVerdict as error:
            return same_for_all(self.unavailable(error.reason, str(error), call), calls)
        except UnreadableError as error:
            return same_for_all(self.unavailable(Reason.MALFORMED, str(error), call), calls)
        except EngineClosed as error:
            return same_for_all(self.unavailable(Reason.CLOSING, str(error), call), calls)

    def _observe(self, question: Question, messages: object, call: Call) -> None:
        try:
            with self._turn_of(question, messages, call):
                slot = question.slot
                profile, items = slot.read(messages, question.tools)
                slot.items = tuple(items)
                kept, entries = self._slots.find(slot, profile, items)
                kept.render(entries, call)
            kept.observe(entries, call)
        except (_NoVerdict, UnreadableError, EngineClosed):
            return  # the next verdict says so

    @contextmanager
    def _turn_of(self, question: Question, messages: object, call: Call) -> Iterator[None]:
        """The turn of one call, alone in reading lists and rendering. Raises _NoVerdict."""
        came = question.place.wait(call.left)
        if not came or not self._rendering.acquire(timeout=call.left):
            question.slot.owe(messages)
            raise _NoVerdict(Reason.DEADLINE, "other calls are under way")
        try:
            if self._closed:
                raise _NoVerdict(Reason.CLOSING, "it was closed")
            yield
        finally:
            self._rendering.release()


class _NoVerdict(Exception):
    """Nothing was read, for this reason."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
