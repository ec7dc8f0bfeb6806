"""A session reads every token once, and answers at the border."""

from __future__ import annotations

import numpy as np

from stepguard import Guard, Status, Trajectory
from stepguard.prompt import Encoder
from tests.front.fakes import FakeEngine, byte_tokenizer, make_prompt
from tests.front.played import PROFILE, STEPS, expected_margin, play


def test_verdicts_are_those_of_the_whole_text(guard: Guard) -> None:
    with guard.session(PROFILE) as session:
        first, second = play(session)
    assert first.margin == expected_margin(STEPS[:2])
    assert second.margin == expected_margin(STEPS)
    assert (first.step, second.step) == (1, 3)
    for verdict in (first, second):
        assert verdict.status is (Status.UNSAFE if verdict.margin >= 0 else Status.SAFE)  # type: ignore[operator]
        assert verdict.mode == "first_token"
        assert verdict.guard.model == guard.manifest.sha256
        assert verdict.guard.prompt == guard.prompt.sha256
        assert verdict.coverage == 1.0
        assert not verdict.calibrated
        assert verdict.latency_ms > 0


def test_only_new_tokens_are_read(guard: Guard, engine: FakeEngine) -> None:
    before = engine.stats()["tokens"]
    with guard.session(PROFILE) as session:
        verdicts = play(session)
    encoder = Encoder(make_prompt(), byte_tokenizer())
    ids = encoder.whole(Trajectory(PROFILE, STEPS))
    questions = [call[1].tokens for call in engine.calls if len(call) == 2]
    stable = sum(len(segment.tokens) for call in engine.calls[1:] for segment in call[:1])
    assert stable + len(questions[-1]) + len(encoder.prefix_ids) == len(ids)
    assert engine.stats()["tokens"] - before == stable + sum(map(len, questions))
    assert sum(verdict.tokens_read for verdict in verdicts) == engine.stats()["tokens"] - before


def test_the_prefix_is_read_once(guard: Guard, engine: FakeEngine) -> None:
    prefix = len(engine.calls[0][0].tokens)
    for _ in range(3):
        with guard.session() as session:
            session.push(STEPS[1])
    assert len(engine.calls) == 4
    assert all(call[0].parent.length == prefix for call in engine.calls[1:])  # type: ignore[union-attr]


def test_a_push_is_one_forest_of_two_segments(guard: Guard, engine: FakeEngine) -> None:
    with guard.session() as session:
        session.push(STEPS[0])
    kept, question = engine.calls[-1]
    assert (kept.keep, question.keep, question.parent) == (True, False, 0)
    assert list(question.read) == sorted(guard.prompt.row_ids)


def test_observing_asks_nothing(guard: Guard, engine: FakeEngine) -> None:
    with guard.session() as session:
        assert session.observe(STEPS[0]) is None
        assert [len(call) for call in engine.calls[1:]] == [1]
        assert not any(len(segment.read) for segment in engine.calls[-1])


def test_a_push_of_any_step_answers(guard: Guard) -> None:
    with guard.session(PROFILE) as session:
        assert session.push(STEPS[0]).margin == expected_margin(STEPS[:1])
        assert session.judge().margin == expected_margin(STEPS[:1])
        assert session.push(STEPS[1]).margin == expected_margin(STEPS[:2])


def test_judging_before_the_first_step(guard: Guard) -> None:
    with guard.session(PROFILE) as session:
        verdict = session.judge()
    assert verdict.step is None
    assert verdict.margin == expected_margin(())


def test_ids_are_what_the_engine_takes(guard: Guard, engine: FakeEngine) -> None:
    with guard.session() as session:
        session.push(STEPS[0])
    for call in engine.calls:
        for segment in call:
            assert segment.tokens.dtype == segment.read.dtype == np.int32
