"""A trajectory that sessions are played, and the margins of its whole text."""

from __future__ import annotations

from stepguard import Step, Trajectory
from stepguard.prompt import Encoder
from stepguard.session import Session
from stepguard.taxonomy import Verdict
from tests.front.fakes import FakeEngine, byte_tokenizer, hash_logits, make_guard, make_prompt

STEPS = (
    Step.user("Delete the old backups, please."),
    Step.agent(thought="I look first.", action='{"name": "ls"}'),
    Step.environment("backup-1\nbackup-2\n"),
    Step.agent(thought="Now I delete.", action='{"name": "rm"}'),
)
PROFILE = "You may delete backups."


def play(session: Session, steps: tuple[Step, ...] = STEPS) -> list[Verdict]:
    verdicts = []
    for step in steps:
        if step.is_action:
            verdicts.append(session.push(step))
        else:
            session.observe(step)
    return verdicts


def expected_margin(steps: tuple[Step, ...]) -> float:
    """From the ids of the whole text at once."""
    encoder = Encoder(make_prompt(), byte_tokenizer())
    ids = encoder.whole(Trajectory(PROFILE, steps))
    guard = make_guard(FakeEngine())
    rows = guard._reader.judge.rows
    return guard._reader.judge.labels.margin(hash_logits(ids, rows))
