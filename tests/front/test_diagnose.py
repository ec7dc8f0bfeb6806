"""A diagnosis reads no token of the trajectory again, is never raised, and never in the way."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from stepguard import Guard, Reason, Status, Step, Trajectory
from stepguard.diagnose import Asker
from stepguard.errors import EngineClosed, PromptError, SessionClosed, TaxonomyError
from stepguard.judge import fields_of
from stepguard.prompt import place_fields
from stepguard.runtime import Segment
from stepguard.session import Session
from stepguard.taxonomy import Diagnosis, Dimension, Label, Taxonomy, lines_of, outside
from tests.front.diagnosable import TAXONOMY, fields, make_diagnosable
from tests.front.fakes import (
    FakeEngine,
    FakeTicket,
    byte_tokenizer,
    hash_logits,
    make_guard,
    writing_prompt,
)
from tests.front.manifests import sample

PROFILE = "An agent."
STEPS = (Step.user("Pay the rent."), Step.agent("I pay.", "pay(9)"), Step.environment("done"))
ORDER = ("risk_source", "failure_mode", "real_world_harm")
FIELDS = fields()
LINES = sum(len(field.head) + field.trie.tokens for field in FIELDS.fields)


@pytest.fixture
def guard(engine: FakeEngine) -> Guard:
    return make_diagnosable(engine)


@pytest.fixture
def session(guard: Guard) -> Session:
    """A session at the end of STEPS."""
    session = guard.session(PROFILE, diagnose=False)
    for step in STEPS:
        session.push(step)
    return session


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


@pytest.mark.parametrize("reason", ["deadline", "overflow", "internal", "closing"])
@pytest.mark.parametrize("dimension", range(3))
def test_what_goes_wrong_is_its_reason(
    engine: FakeEngine, session: Session, reason: str, dimension: int
) -> None:
    engine.failures = [{}] * dimension + [{1: reason}]
    diagnosis = session.diagnose()
    assert diagnosis.reason == reason
    assert diagnosis.message == f"fake {reason}"
    assert not diagnosis.complete
    assert list(diagnosis.best) == list(ORDER[:dimension])
    assert diagnosis.coverage == (1.0 if dimension else 0.0)
    assert session.diagnose().complete


def test_memory_that_runs_out(engine: FakeEngine, session: Session) -> None:
    """Idle States make room; where there are none, that is the reason."""
    engine.failures = [{1: "memory"}]
    assert session.diagnose().complete
    engine.failures = [{1: "memory"}] * 9
    diagnosis = session.diagnose()
    assert (diagnosis.reason, diagnosis.best) == (Reason.MEMORY, {})


def test_a_logit_that_is_no_number(engine: FakeEngine, session: Session) -> None:
    engine.nan = True
    diagnosis = session.diagnose()
    assert (diagnosis.reason, diagnosis.best) == (Reason.NUMERIC, {})


def test_a_late_diagnosis_leaves_the_session_whole(engine: FakeEngine, session: Session) -> None:
    engine.slices = 10**6
    diagnosis = session.diagnose(deadline_ms=20)
    assert (diagnosis.reason, diagnosis.best) == (Reason.DEADLINE, {})
    assert diagnosis.latency_ms >= 20
    engine.slices = engine.tickets[-1].slices = 0
    assert session.judge().reason is None
    assert session.diagnose().complete


def test_a_malformed_step(guard: Guard) -> None:
    with guard.session(PROFILE) as session:
        verdict = session.push(Step.agent(action={"rm -rf /"}))  # type: ignore[arg-type]
        assert verdict.reason is Reason.MALFORMED
        diagnosis = session.diagnose()
        assert diagnosis.reason is Reason.MALFORMED
        assert diagnosis.message == verdict.message


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


def test_guards_without_labels() -> None:
    guard = make_guard(FakeEngine())
    with guard.session() as session, pytest.raises(TaxonomyError, match="Export again with --tax"):
        session.diagnose()
    with pytest.raises(TaxonomyError, match="Export again with --taxonomy FILE"):
        guard.moderate(Trajectory("", STEPS), diagnose=True)
    unsafe = guard.moderate(Trajectory("", STEPS))
    assert all(verdict.diagnosis is None for verdict in unsafe)


@pytest.mark.parametrize("top", [0, -1, True, 1.5, "2"])
def test_how_many_answers_must_be_a_number(session: Session, top: int) -> None:
    with pytest.raises(ValueError, match="top: expected a whole number from 1 up"):
        session.diagnose(top=top)


def test_misuse_is_raised(guard: Guard, session: Session) -> None:
    session.close()
    with pytest.raises(SessionClosed):
        session.diagnose()
    open_session = guard.session()
    guard.close()
    with pytest.raises(EngineClosed):
        open_session.diagnose()


def test_the_async_twin(session: Session) -> None:
    assert asyncio.run(session.adiagnose()).best == session.diagnose().best


def until(session: Session, status: Status) -> tuple[Step, Status]:
    """An action that the hash finds so."""
    for i in range(100):
        step = Step.agent("try", f"pay({i})")
        if session.peek(step).status is status:
            return step, status
    raise AssertionError("no such action")


def test_an_unsafe_verdict_brings_its_diagnosis(guard: Guard) -> None:
    with guard.session(PROFILE) as session:
        session.observe(STEPS[0])
        safe = session.push(until(session, Status.SAFE)[0])
        assert safe.diagnosis is None
        for call in (session.push, session.check):
            verdict = call(until(session, Status.UNSAFE)[0])
            assert verdict.status is Status.UNSAFE
            assert verdict.diagnosis is not None
            diagnosis = verdict.diagnosis.result(10)
            assert isinstance(diagnosis, Diagnosis)
            assert diagnosis.step == verdict.step
        session.commit(verdict)
        assert session.diagnose().best == diagnosis.best
        assert session.judge().diagnosis is not None
        assert session.peek(STEPS[1]).diagnosis is None


def test_calls_of_a_turn_have_their_own(guard: Guard) -> None:
    with guard.session(PROFILE) as session:
        session.observe(STEPS[0])
        turns = (session.check_turn("both", [f"a({i})", f"b({i})"]) for i in range(100))
        turn = next(turn for turn in turns if turn.joint.status is Status.SAFE and not turn.allowed)
        assert turn.joint.diagnosis is None
        for verdict in turn.calls:
            assert (verdict.diagnosis is not None) == (verdict.status is Status.UNSAFE)


def test_json_has_every_label(guard: Guard) -> None:
    with guard.session(PROFILE) as session:
        session.observe(STEPS[0])
        verdict = session.push(until(session, Status.UNSAFE)[0])
        assert verdict.diagnosis is not None
        verdict.diagnosis.result(10)
    value = json.loads(verdict.to_json())["diagnosis"]
    for name in ORDER:
        labels = TAXONOMY.of(Dimension(name))
        assert sorted(value[name]) == sorted(label.id for label in labels)
        assert value["best"][name] in value[name]
    assert (value["complete"], value["order"]) == (True, list(ORDER))


class SlowBehind(FakeEngine):
    """Forests of the background thread wait until they may run."""

    def __init__(self) -> None:
        super().__init__()
        self.may_run = threading.Event()

    def submit(self, segments: Sequence[Segment], *, seconds: float | None = None) -> FakeTicket:
        if threading.current_thread().name.startswith("stepguard-background"):
            assert self.may_run.wait(10)
        return super().submit(segments, seconds=seconds)


def test_no_verdict_waits_for_a_diagnosis() -> None:
    engine = SlowBehind()
    guard = make_diagnosable(engine)
    session = guard.session(PROFILE)
    session.observe(STEPS[0])
    first = session.push(until(session, Status.UNSAFE)[0])
    others = [session.push(Step.agent("go on", f"pay({i})")) for i in range(20)]
    found = [v.diagnosis for v in (first, *others) if v.diagnosis is not None]
    assert len(found) > 3
    assert not any(future.done() for future in found)
    assert first.to_dict()["diagnosis"] is None
    session.close()  # the reading apart goes on
    engine.may_run.set()
    assert all(future.result(10).complete for future in found)


def test_a_guard_that_closes_ends_what_waits() -> None:
    engine = SlowBehind()
    guard = make_diagnosable(engine)
    session = guard.session(PROFILE)
    session.observe(STEPS[0])
    verdict = session.push(until(session, Status.UNSAFE)[0])
    guard.close()
    engine.may_run.set()
    assert verdict.diagnosis is not None
    assert verdict.diagnosis.result(10).reason is Reason.CLOSING


def test_too_many_that_wait_are_not_begun() -> None:
    engine = SlowBehind()
    session = make_diagnosable(engine).session(PROFILE, verdict_at="all")
    verdicts = [session.push(Step.agent("go", f"pay({i})")) for i in range(250)]
    found = [verdict.diagnosis for verdict in verdicts if verdict.diagnosis is not None]
    assert len(found) > 64
    assert [future.done() for future in found] == [index >= 64 for index in range(len(found))]
    assert found[-1].result().reason is Reason.DEADLINE
    engine.may_run.set()
    assert all(future.result(10).complete for future in found[:64])


def test_a_bug_in_a_diagnosis_is_a_reason(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with guard.session(PROFILE) as session:
        session.observe(STEPS[0])
        step, _ = until(session, Status.UNSAFE)
        monkeypatch.setattr("stepguard.diagnose.outside", lambda *_: 1 / 0)
        verdict = session.push(step)
        assert verdict.diagnosis is not None
        diagnosis = verdict.diagnosis.result(10)
    assert (diagnosis.reason, diagnosis.message.split(":")[0]) == ("internal", "ZeroDivisionError")
    assert "a job of the background failed" in caplog.text


def test_whole_trajectories(guard: Guard) -> None:
    steps = (STEPS[0], *(Step.agent("go", f"pay({i})") for i in range(12)), STEPS[2])
    trajectory = Trajectory(PROFILE, steps)
    seen: list[tuple[int, int]] = []
    verdicts = guard.moderate(
        trajectory, diagnose=True, progress=lambda done, total: seen.append((done, total))
    )
    plain = guard.moderate(trajectory)
    assert [v.margin for v in verdicts] == [v.margin for v in plain]
    for verdict in verdicts:
        assert (verdict.diagnosis is not None) == (verdict.status is Status.UNSAFE)
        if verdict.diagnosis is not None:
            assert verdict.diagnosis.done()
    done, total = seen[-1]
    assert 0 < done <= total
    (judged,) = guard.moderate(Trajectory(PROFILE, STEPS[:1]), diagnose=True)
    assert judged.step == 0


def test_a_subset_of_the_labels(guard: Guard, session: Session) -> None:
    wanted = [label for label in TAXONOMY.of(Dimension.RISK_SOURCE) if label.text != "page"]
    found = fields_of(guard.manifest, Taxonomy("few", tuple(wanted)))
    assert found is not None
    (field,) = found.fields
    assert set(field.paths) == {label.id for label in wanted}
    with pytest.raises(TaxonomyError, match="Export again with --taxonomy FILE"):
        own = Label(Dimension.RISK_SOURCE, "new", "new", "a gist")
        fields_of(guard.manifest, Taxonomy("own", (*wanted, own)))


def test_ids_beyond_the_model() -> None:
    value = fields().to_manifest()
    value["fields"][0]["head"][0] = 256
    with pytest.raises(TaxonomyError, match="ids below the 256 rows, got id 256"):
        make_guard(FakeEngine(), taxonomy="test", diagnosis=value)


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


def asked_in(mode: str | None, answer: str) -> Guard:
    """A guard on a fake engine whose answers have this form, asked in a mode."""
    prompt = writing_prompt(answer) if mode is None else writing_prompt(answer).in_mode(mode)
    tokenizer = byte_tokenizer()
    found = place_fields(prompt, tokenizer, TAXONOMY, lines_of(answer))
    asker = Asker.of(prompt, tokenizer)
    more = {"taxonomy": "test", "diagnosis": found.to_manifest()}
    shape = {**sample()["architecture"], "vocabulary": 400}  # room for the template's tokens
    return make_guard(FakeEngine(), prompt, asker=asker, architecture=shape, **more)


def test_the_question_is_that_of_the_mode_that_writes_nothing() -> None:
    shares = []
    for mode in ("forced", "rationale"):
        with asked_in(mode, "agentdog-1.5-unified").session(PROFILE, diagnose=False) as session:
            session.observe(STEPS[0])
            diagnosis = session.diagnose()
            assert (diagnosis.complete, diagnosis.order[0]) == (True, "failure_mode")
            shares.append(diagnosis.risk_source)
    assert shares[0] == shares[1]


def test_a_guard_that_gives_no_verdicts() -> None:
    guard = asked_in(None, "agentdog-1.5-finegrained")
    with guard.session(PROFILE) as session:
        session.observe(STEPS[0])
        assert session.diagnose().complete
        with pytest.raises(PromptError, match="one that only diagnoses"):
            session.judge()
