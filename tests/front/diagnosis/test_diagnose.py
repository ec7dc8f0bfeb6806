"""A diagnosis reads no token of the trajectory again, and every label by the text before it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stepguard import Guard, Reason, Step
from stepguard.session import Session
from tests.front.diagnosable import make_diagnosable
from tests.front.diagnosis.dug import FIELDS, LINES, ORDER, PROFILE, STEPS, expected, question
from tests.front.fakes import FakeEngine, hash_logits


def test_every_label_by_the_text_before_it(guard: Guard, session: Session) -> None:
    diagnosis, theirs = session.diagnose(), expected(guard, question(guard))
    for name in ORDER:
        assert diagnosis.of(name) == theirs[name]
        assert diagnosis.out_of_vocabulary[name] == theirs[f"outside {name}"][""]
        assert sum(diagnosis.of(name).values()) == pytest.approx(1)
        assert diagnosis.best[name] == max(theirs[name], key=lambda label: theirs[name][label])
    assert (diagnosis.complete, diagnosis.reason, diagnosis.message) == (True, None, "")
    assert (diagnosis.order, diagnosis.taxonomy, diagnosis.step) == (ORDER, "test", 2)
    assert diagnosis.guard == session.judge().guard
    assert (diagnosis.coverage, diagnosis.windows, diagnosis.left_out) == (1.0, 1, ())


def test_nothing_but_question_lines_and_labels_is_read(
    guard: Guard, engine: FakeEngine, session: Session
) -> None:
    asked = len(engine.calls[-1][-1].tokens)  # of the verdict before
    before, calls = engine.stats()["tokens"], len(engine.calls)
    diagnosis = session.diagnose()
    paths = [field.paths[diagnosis.best[field.dimension]] for field in FIELDS.fields[:2]]
    assert diagnosis.tokens_read == engine.stats()["tokens"] - before
    assert diagnosis.tokens_read == asked + LINES + sum(map(len, paths))
    assert len(engine.calls) - calls == 3
    # What a diagnosis read is not charged to the next verdict.
    assert session.judge().tokens_read == asked


def test_what_is_owed_is_read_first(guard: Guard, engine: FakeEngine) -> None:
    engine.failures = [{0: "deadline"}]
    session = guard.session(PROFILE, diagnose=False)
    assert session.push(STEPS[0]).reason is Reason.DEADLINE
    diagnosis = session.diagnose()
    assert diagnosis.risk_source == expected(guard, question(guard, STEPS[:1]))["risk_source"]
    before = engine.stats()["tokens"]
    session.judge()
    assert engine.stats()["tokens"] - before == len(engine.calls[-1][-1].tokens)


def test_averages_cost_more_and_begin_the_same(engine: FakeEngine, session: Session) -> None:
    one = session.diagnose()
    calls = len(engine.calls)
    three = session.diagnose(top=3)
    assert len(engine.calls) - calls == 3
    assert (one.top, three.top) == (1, 3)
    assert three.risk_source == one.risk_source
    assert three.failure_mode != one.failure_mode
    assert three.tokens_read > one.tokens_read
    for name in ORDER:
        assert sum(three.of(name).values()) == pytest.approx(1)


def test_the_worst_window_is_diagnosed() -> None:
    engine = FakeEngine(context=1500)
    guard = make_diagnosable(engine)
    session = guard.session(PROFILE, window="window", diagnose=False)
    session.observe(STEPS[0])
    giant = Step.agent("look", " ".join(f"w{i:05d}." for i in range(400)))
    verdict = session.push(giant)
    assert verdict.windows > 3
    diagnosis = session.diagnose()
    assert diagnosis.windows == verdict.windows
    judge, found = guard._reader.judge, []
    call = engine.calls[-3]  # the first of three
    paths: list[list[int]] = []
    for segment in call:
        above = segment.parent
        start = paths[above] if isinstance(above, int) else list(above.tokens)  # type: ignore[attr-defined]
        paths.append([*start, *map(int, segment.tokens)])
        if segment.read.tolist() == judge.rows.tolist():
            found.append((judge.labels.margin(hash_logits(paths[-1], judge.rows)), paths[-1]))
    assert len(found) == verdict.windows
    margin, ids = max(found)
    assert margin == verdict.margin
    assert diagnosis.risk_source == expected(guard, ids)["risk_source"]


def test_the_async_twin(session: Session) -> None:
    assert asyncio.run(session.adiagnose()).best == session.diagnose().best


def test_engines_read_it_in_three_forwards(diagnosable: dict[str, Path]) -> None:
    for folder in diagnosable.values():
        with (
            Guard.load(folder, memory=64 << 20, budget_ms=2000, save_prefix=False) as guard,
            guard.session(PROFILE, diagnose=False) as session,
        ):
            for step in STEPS:
                session.push(step)
            asked = session.judge().tokens_read
            before, margin = guard.stats(), session.judge().margin
            between = guard.stats()
            assert between["tokens"] - before["tokens"] == asked
            diagnosis = session.diagnose()
            after = guard.stats()
            assert diagnosis.complete, diagnosis.message
            assert after["forwards"] - between["forwards"] == 3
            assert after["tokens"] - between["tokens"] == diagnosis.tokens_read
            fields = guard._reader.judge.needed_fields.fields
            lines = sum(len(field.head) + field.trie.tokens for field in fields)
            paths = (field.paths[diagnosis.best[field.dimension]] for field in fields[:2])
            assert diagnosis.tokens_read == asked + lines + sum(map(len, paths))
            for name in ("pages_used", "slots_used"):
                assert after[name] == between[name]  # nothing of it stays
            again = session.diagnose()
            assert again.risk_source == diagnosis.risk_source  # to the bit
            assert session.judge().margin == margin
