"""A trajectory to diagnose, and what a diagnosis of it must say."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from stepguard import Guard, Status, Step, Trajectory
from stepguard.runtime import Segment
from stepguard.session import Session
from stepguard.taxonomy import outside
from tests.front.diagnosable import fields
from tests.front.fakes import FakeEngine, FakeTicket, hash_logits

PROFILE = "An agent."
STEPS = (Step.user("Pay the rent."), Step.agent("I pay.", "pay(9)"), Step.environment("done"))
ORDER = ("risk_source", "failure_mode", "real_world_harm")
FIELDS = fields()
LINES = sum(len(field.head) + field.trie.tokens for field in FIELDS.fields)


def question(guard: Guard, steps: Sequence[Step] = STEPS) -> list[int]:
    return guard._reader.encoder.whole(Trajectory(PROFILE, tuple(steps))).tolist()


def expected(guard: Guard, ids: list[int]) -> dict[str, dict[str, float]]:
    """Every dimension by the hash of the whole text, on the best label of the one before."""
    found = {}
    for field in FIELDS.fields:
        ids = ids + list(field.head)
        ends: list[list[int]] = []
        for branch in field.trie.branches:
            ends.append([*(ends[branch.above] if branch.above >= 0 else ids), *branch.ids])
        logits = [
            hash_logits(end, branch.children)
            for end, branch in zip(ends, field.trie.branches, strict=True)
        ]
        shares = field.trie.probabilities(logits)
        every = hash_logits(ids, range(guard.manifest.architecture.vocabulary))
        found[field.dimension.value] = shares
        found[f"outside {field.dimension}"] = {"": outside(logits[0], every)}
        ids = ids + list(field.paths[max(shares, key=lambda label: shares[label])])
    return found


def until(session: Session, status: Status) -> tuple[Step, Status]:
    """An action that the hash finds so."""
    for i in range(100):
        step = Step.agent("try", f"pay({i})")
        if session.peek(step).status is status:
            return step, status
    raise AssertionError("no such action")


class SlowBehind(FakeEngine):
    """Forests of the background thread wait until they may run."""

    def __init__(self) -> None:
        super().__init__()
        self.may_run = threading.Event()

    def submit(self, segments: Sequence[Segment], *, seconds: float | None = None) -> FakeTicket:
        if threading.current_thread().name.startswith("stepguard-background"):
            assert self.may_run.wait(10)
        return super().submit(segments, seconds=seconds)
