"""How a gate decides: whatever happens ends in a decision of the policy."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import TimeoutError as LateError

from stepguard.call import Call
from stepguard.conversations import Conversations, Question
from stepguard.conversations.turns import worst
from stepguard.errors import TrajectoryError
from stepguard.mending import Mending
from stepguard.messages import ToolCall, calls_of, read_calls, read_messages
from stepguard.policy import Decision, Outcome, Policy
from stepguard.policy.decision import Cause, fixed_text
from stepguard.prompt import Step
from stepguard.recording import may_run
from stepguard.taxonomy import Reason, Verdict

_log = logging.getLogger("stepguard")

# What the answer itself needs: a verdict has to be there this much earlier than the decision.
_SHARE, _MOST_MS = 0.1, 50.0
_LATE = "the decision was not there in time"


class Decider:
    """Decides on whatever thread it is called. Threads may share it."""

    def __init__(self, conversations: Conversations, policy: Policy, *, steps: bool) -> None:
        """steps: decisions tell which step was judged."""
        self.conversations, self.policy = conversations, policy
        self._mending = Mending()
        self._steps = steps

    def decide(
        self, question: Question, messages: object, call: Call, hurry: Hurry
    ) -> list[Decision]:
        """The decisions, in the question's turn; none where the host has given up by then."""
        try:
            try:
                asked, verdicts = self._judge(question, messages, call)
            finally:
                self.conversations.leave(question)
            self._wait_for_labels(verdicts, call)
            if hurry.finish():
                return []
            named = asked or (ToolCall(""),)
            found = [
                self._decision(question, verdict, one)
                for verdict, one in zip(verdicts, named, strict=True)
            ]
        except Exception as error:
            found = self.failed(question, question.calls, error)
            if hurry.finish():
                return []
        self.forget(question, blocked_of(found))
        return found

    def _decision(self, question: Question | None, verdict: Verdict, one: ToolCall) -> Decision:
        decision = self.policy.decide(verdict, one.name, one.id)
        if self._steps and question is not None:
            return dataclasses.replace(decision, step=question.step)
        return decision

    def _judge(
        self, question: Question, messages: object, call: Call
    ) -> tuple[tuple[ToolCall, ...], Sequence[Verdict]]:
        """The calls that are asked about, and their verdicts.

        A message that cannot be read is read as text, so that what is decided now is remembered;
        the first time the verdict is `malformed` nevertheless. Raises TrajectoryError for calls
        and tools that cannot be read.
        """
        try:
            return self._read_and_judge(question, messages, call)
        except TrajectoryError as error:
            mended = self._mending.mended(messages, learn=True)
            if mended is None:
                raise
            asked, verdicts = self._read_and_judge(question, mended.messages, call)
            if mended.known:
                return asked, verdicts
            _log.error("a message of a conversation cannot be read", exc_info=error)
            bad = self.conversations.unavailable(Reason.MALFORMED, str(error))
            return asked, (bad,) * len(verdicts)

    def _read_and_judge(
        self, question: Question, messages: object, call: Call
    ) -> tuple[tuple[ToolCall, ...], Sequence[Verdict]]:
        turn = self.conversations.ask(question, messages, _time_left(call))
        asked = question.asked if question.read else _asked(messages, question.calls)
        count = max(1, len(asked))  # without calls: one decision about the whole
        return asked, turn.calls if len(turn.calls) == count else (worst(turn),) * count

    def late(self, question: Question) -> list[Decision]:
        """The decisions where there is none in time. What is still being judged has not happened
        where it is blocked: that must be known before the host's next call."""
        found = self._without(question, question.calls, Reason.DEADLINE, _LATE)
        self.forget(question, blocked_of(found))
        return found

    def forget(self, question: Question | None, blocked: Sequence[bool]) -> None:
        """What was blocked has not happened. Returns at once."""
        try:
            if question is not None:
                self.conversations.forget(question, blocked)
        except Exception:
            _log.exception("a call that was blocked could not be left out")

    def _wait_for_labels(self, verdicts: Sequence[Verdict], call: Call) -> None:
        """Rules about labels need the diagnosis, where there is time for it."""
        if not self.policy.labels:
            return
        for future in (verdict.diagnosis for verdict in verdicts):
            if future is None:
                continue
            left = None if call.until is None else call.left * (1 - _SHARE)
            try:
                future.result(left)
            except LateError:
                _log.info("the diagnosis was not there in time: rules about labels do not count")
                return

    def observe(self, question: Question, messages: object) -> None:
        """Reads what is new, in the question's turn. What goes wrong is logged."""
        try:
            try:
                self.conversations.look(question, messages)
            except TrajectoryError:
                mended = self._mending.mended(messages, learn=False)
                if mended is None or not mended.known:
                    raise
                self.conversations.look(question, mended.messages)
        except Exception:
            _log.exception("a conversation could not be observed")

    def failed(self, question: Question | None, calls: object, error: Exception) -> list[Decision]:
        """The decisions after an exception. question: None where it found no place."""
        _log.error("no verdict for a conversation", exc_info=error)
        reason = Reason.MALFORMED if isinstance(error, TrajectoryError) else Reason.INTERNAL
        return self._without(question, calls, reason, f"{type(error).__name__}: {error}")

    def _without(
        self, question: Question | None, calls: object, reason: Reason, message: str
    ) -> list[Decision]:
        """The decisions where there is no verdict."""
        try:
            named = read_calls(calls)
        except Exception:  # they are what is malformed
            count = len(calls) if isinstance(calls, list | tuple) else 1
            named = (ToolCall(""),) * max(1, count)
        verdict, each = self.conversations.unavailable(reason, message), named or (ToolCall(""),)
        try:
            return [self._decision(question, verdict, one) for one in each]
        except Exception:
            _log.exception("the policy failed")
            return [_blocked(one, verdict) for one in each]


class Hurry:
    """Whether an answer came before the host had to have one; only one of the two happens."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = ""

    def give_up(self) -> bool:
        """The host waits no longer: True where there is no answer yet."""
        return self._end("given up") == "given up"

    def finish(self) -> bool:
        """There is an answer: True where nobody waits for it any more."""
        return self._end("finished") == "given up"

    def _end(self, how: str) -> str:
        with self._lock:
            self._ended = self._ended or how
            return self._ended


def _time_left(call: Call) -> float | None:
    """Milliseconds for a verdict, so that there is some time left for the decision."""
    if call.until is None:
        return None
    left = max(call.left * 1000, 0.001)
    return left - min(left * _SHARE, _MOST_MS)


def _asked(messages: object, calls: object) -> tuple[ToolCall, ...]:
    """The calls that are asked about, where there was no time to read the list."""
    if calls is not None:
        return read_calls(calls)
    if isinstance(messages, Step):
        return calls_of(messages)
    entries = read_messages(messages).entries
    return entries[-1].calls if entries else ()


def blocked_of(found: Sequence[Decision]) -> list[bool]:
    """Which of the decisions keep their call from running."""
    return [not may_run(decision) for decision in found]


def _blocked(call: ToolCall, verdict: Verdict) -> Decision:
    """Where nothing else works."""
    return Decision(
        outcome=Outcome.BLOCK,
        rule="failure",
        text=fixed_text(Outcome.BLOCK, Cause.UNAVAILABLE),
        tool=call.name,
        call_id=call.id,
        verdict=verdict,
    )
