"""What every state machine over the calls of a session does: decide checks, fork, lose States."""

from __future__ import annotations

from typing import Generic, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from stepguard.session import Session
from stepguard.taxonomy import Verdict
from tests.front.fakes import FakeEngine, make_guard

Said = TypeVar("Said")


class SessionMachine(RuleBasedStateMachine, Generic[Said]):
    """`said` is what the trajectory should hold; `open` has it for every open check."""

    def __init__(self, engine: FakeEngine) -> None:
        super().__init__()
        self.engine = engine
        self.guard = make_guard(engine)
        self.session = self.begin()
        self.said: list[Said] = []
        self.open: list[tuple[Verdict, list[Said]]] = []
        self.last: tuple[Verdict, list[Said]] | None = None

    def begin(self) -> Session:
        raise NotImplementedError

    def moved(self, said: list[Said], verdict: Verdict | None = None) -> None:
        """The session went on; `verdict` may still be taken back."""
        self.last = None if verdict is None else (verdict, self.said)
        self.said, self.open = said, []

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        verdict, said = data.draw(st.sampled_from(self.open))
        self.session.commit(verdict)
        self.moved(said, verdict)

    @precondition(lambda self: self.last is not None)
    @rule()
    def take_back(self) -> None:
        assert self.last is not None
        verdict, before = self.last
        self.session.reject(verdict)
        self.moved(before)

    @rule()
    def go_on_in_a_fork(self) -> None:
        fork = self.session.fork()
        self.session.close()
        self.session, self.open, self.last = fork, [], None

    @rule()
    def evict(self) -> None:
        while self.guard._reader.shelves.evict():
            pass
