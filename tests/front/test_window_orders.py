"""Any order of calls and failures in a session whose window moves: nothing is dropped in silence.

Steps carry a number. Of every verdict that is given, the numbers that the model saw before its
answers, and those that the verdict says were left out, are all that were ever said.
"""

from __future__ import annotations

import re

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from stepguard import Step
from stepguard.session import Session
from stepguard.taxonomy import Verdict
from tests.front.fakes import FakeEngine, asked_paths, asked_texts, hash_logits
from tests.front.session_machine import SessionMachine

CONTEXT = 1200
REASONS = ["memory", "internal", "deadline", "closing", "numeric"]
SIZES = st.sampled_from([0, 0, 3, 20, 60, 150])
KINDS = st.sampled_from(["user", "environment", "action", "talk"])


def numbered(kind: str, number: int, words: int) -> Step:
    """A step whose every word is its number and the word's own."""
    text = " ".join(f"<{number}.{i}>" for i in range(words + 1))
    if kind in ("action", "talk"):
        return Step.agent(*(("", text) if kind == "action" else (text, "")))
    return Step.user(text) if kind == "user" else Step.environment(text)


class WindowCalls(SessionMachine[int]):
    """`said` has the words of every step."""

    def __init__(self) -> None:
        super().__init__(FakeEngine(context=CONTEXT))

    def begin(self) -> Session:
        return self.guard.session("An agent.", window="window")

    def step(self, kind: str, words: int) -> Step:
        return numbered(kind, len(self.said), words)

    def agree(self, verdict: Verdict, said: list[int]) -> None:
        if verdict.reason is not None:
            assert not verdict.allowed
            assert verdict.coverage < 1.0
            return
        assert verdict.step == (len(said) - 1 if said else None)
        seen = {(int(a), int(b)) for text in asked_texts(self.engine) for a, b in words_of(text)}
        left = {i for a, b in verdict.left_out for i in range(a, b + 1)}
        for number, words in enumerate(said):
            whole = all((number, i) in seen for i in range(words + 1))
            assert whole or number in left
        assert (verdict.coverage < 1.0) == bool(left)
        if said != self.said:  # the step that the verdict is about
            assert len(said) - 1 not in left
        judge, paths = self.guard._reader.judge, asked_paths(self.engine)
        assert max(map(len, paths)) <= CONTEXT
        assert verdict.windows == len(paths)
        margins = [judge.labels.margin(hash_logits(path, judge.rows)) for path in paths]
        assert verdict.margin == max(margins)

    @rule(kind=KINDS, words=SIZES)
    def observe(self, kind: str, words: int) -> None:
        self.session.observe(self.step(kind, words))
        self.moved([*self.said, words])

    @rule(kind=KINDS, words=SIZES)
    def push(self, kind: str, words: int) -> None:
        said = [*self.said, words]
        verdict = self.session.push(self.step(kind, words))
        self.agree(verdict, said)
        self.moved(said, verdict)

    @rule(kind=KINDS, words=SIZES)
    def check(self, kind: str, words: int) -> None:
        said = [*self.said, words]
        verdict = self.session.check(self.step(kind, words))
        self.agree(verdict, said)
        self.open.append((verdict, said))

    @rule(kind=KINDS, words=SIZES)
    def peek(self, kind: str, words: int) -> None:
        self.agree(self.session.peek(self.step(kind, words)), [*self.said, words])

    @rule()
    def judge(self) -> None:
        self.agree(self.session.judge(), self.said)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        verdict, _ = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.session.reject(verdict)

    @rule(which=st.integers(0, 6), reason=st.sampled_from(REASONS), times=st.integers(1, 2))
    def fail(self, which: int, reason: str, times: int) -> None:
        self.engine.failures = [{which: reason}] * times


def words_of(text: str) -> list[tuple[str, str]]:
    return re.findall(r"<(\d+)\.(\d+)>", text)


WindowCalls.TestCase.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, derandomize=True
)
TestWindowCalls = WindowCalls.TestCase
