"""Written answers through the front door, on an engine that writes what it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from stepguard import Guard, Reason, Status, Step
from stepguard.errors import PromptError
from stepguard.prompt.pieces import split_special
from tests.front.fakes import (
    END,
    THINK,
    FakeEngine,
    byte_tokenizer,
    calibrated,
    hash_logits,
    make_guard,
    writing_prompt,
)
from tests.prompt.answer_cases import ANALYSIS, GOOD, malformed

COARSE = "agentdog-1.5-coarse"
STEP = Step.agent("", "pay()")
SAFE = ANALYSIS + "<Judgment> safe </Judgment>"


def ids_of(text: str) -> list[int]:
    tokenizer = byte_tokenizer()
    pieces = split_special(text, THINK)
    return [i for piece in pieces for i in piece.ids or tokenizer.encode(piece.text).ids]


def writes(text: str | Callable[[tuple[int, ...]], str], begun: str = "") -> Callable[..., int]:
    """A script that writes `text` after the question, then ends."""
    tail = len(ids_of("\nA:" + begun))

    def script(path: tuple[int, ...]) -> int:
        at = len(path) - 1 - path[::-1].index(END)
        answer = ids_of(text if isinstance(text, str) else text(path[:at]))
        place = len(path) - at - 1 - tail
        return answer[place] if place < len(answer) else END

    return script


def guard_of(
    form: str,
    engine: FakeEngine,
    limit: int | None = None,
    thinking: bool | None = None,
    **changes: object,
) -> Guard:
    prompt = writing_prompt(form, mode="rationale", thinking=thinking)
    return make_guard(engine, prompt, limit, **changes)


def begun_of(guard: Guard) -> str:
    return guard.prompt.modes["rationale"].begun


@pytest.mark.parametrize("form", [form for form in GOOD if not form.endswith("1.5-finegrained")])
def test_a_good_answer_is_the_verdict(engine: FakeEngine, form: str) -> None:
    guard = guard_of(form, engine)
    for text, label in GOOD[form].items():
        begun = begun_of(guard)
        engine.script = writes(text.removeprefix(begun), begun)
        with guard.session() as session:
            verdict = session.push(STEP)
        assert (verdict.status, verdict.mode, verdict.reason) == (label, "rationale", None)
        assert verdict.rationale == text.removeprefix(begun)
        assert verdict.margin is not None
        assert verdict.tokens_read > len(ids_of(text))


@pytest.mark.parametrize("form", [form for form in GOOD if not form.endswith("1.5-finegrained")])
def test_forty_malformed_answers_are_never_safe(engine: FakeEngine, form: str) -> None:
    guard = guard_of(form, engine, limit=4096, thinking=False)
    with guard.session() as session:
        for text in malformed(form):
            engine.script = writes(text, begun_of(guard))
            verdict = session.check(STEP)
            assert (verdict.status, verdict.reason) == (Status.UNAVAILABLE, Reason.MALFORMED), text
            assert verdict.rationale == text
            session.reject(verdict)


def test_the_margin_is_that_of_the_place_of_the_label(engine: FakeEngine) -> None:
    guard = guard_of(COARSE, engine)
    engine.script = writes(SAFE)
    with guard.session() as session:
        verdict = session.push(STEP)
    before = ANALYSIS + "<Judgment> "  # in bytes the space is a token of its own
    labels = guard._reader.judge.labels
    assert labels is not None
    reads = [call[0] for call in engine.calls if call[0].next and call[0].consume]
    place = len(ids_of(before)) - 1  # the last token before the label's first
    path = (*reads[place].parent.tokens, *map(int, reads[place].tokens))  # type: ignore[union-attr]
    assert verdict.margin == labels.margin(hash_logits(path, labels.ids))


def test_an_answer_without_an_end_has_no_verdict(engine: FakeEngine) -> None:
    guard = guard_of(COARSE, engine, limit=len(ids_of(SAFE)) - 1)
    engine.script = writes(SAFE)
    with guard.session() as session:
        verdict = session.push(STEP)
    assert (verdict.reason, verdict.allowed) == (Reason.NO_VERDICT, False)
    assert "no end after" in verdict.message
    longer = guard_of(COARSE, engine, limit=len(ids_of(SAFE)))
    with longer.session() as session:
        assert session.push(STEP).allowed


def test_a_token_that_no_answer_has_is_malformed(engine: FakeEngine) -> None:
    guard = guard_of(COARSE, engine)
    script = writes(SAFE)
    engine.script = lambda path: 303 if path[-1] == ids_of("4")[0] else script(path)
    with guard.session() as session:
        verdict = session.push(STEP)
    assert (verdict.reason, verdict.message) == ("malformed", "token 303 belongs into no answer")


@pytest.mark.parametrize("reason", ["numeric", "internal", "overflow", "closing"])
def test_a_failure_while_writing_is_a_status(engine: FakeEngine, reason: str) -> None:
    guard = guard_of(COARSE, engine)
    engine.script = writes(SAFE)
    with guard.session() as session:
        session.observe(Step.user("x"))
        engine.failures = [{}, {}, {}, {0: reason}]
        verdict = session.push(STEP)
        assert (verdict.status, verdict.reason) == ("unavailable", reason)
        assert session.judge().allowed


def test_writing_goes_on_when_an_idle_state_makes_room(engine: FakeEngine) -> None:
    guard = guard_of(COARSE, engine)
    engine.script = writes(SAFE)
    with guard.session() as idle, guard.session() as session:
        idle.push(STEP)
        session.observe(Step.user("x"))
        engine.failures = [{}, {}, {}, {0: "memory"}]
        assert session.push(STEP).allowed
        engine.failures = [{}, {}, {}, *[{0: "memory"}] * 20]
        assert session.push(STEP).reason == Reason.MEMORY


def test_a_deadline_while_writing_loses_nothing(engine: FakeEngine) -> None:
    guard = guard_of(COARSE, engine)
    script, gate = writes(SAFE), threading.Event()

    def slow(path: tuple[int, ...]) -> int:
        gate.wait(0.01)
        return script(path)

    engine.script = slow
    with guard.session() as session:
        verdict = session.push(STEP, deadline_ms=200)
        assert (verdict.reason, verdict.allowed) == (Reason.DEADLINE, False)
        gate.set()
        again = session.judge()
        assert again.allowed
        read = [segment for call in engine.calls for segment in call if not segment.next]
    assert sum(len(s.tokens) for s in read if s.keep) < 200  # the steps were read once


def test_many_sessions_share_steps_and_get_their_own_answers(engine: FakeEngine) -> None:
    guard = guard_of(COARSE, engine)
    marks = [f"user{n}" for n in range(12)]

    def answer(path: tuple[int, ...]) -> str:
        text = byte_tokenizer().decode([i for i in path if i < 256])
        bad = int(text.rsplit("user", 1)[1].split("\n")[0]) % 3 == 0
        return SAFE.replace("safe", "unsafe") if bad else SAFE

    engine.script = writes(answer)
    start = threading.Barrier(len(marks))

    def judge(mark: str) -> bool:
        with guard.session() as session:
            session.observe(Step.user(mark))
            start.wait()
            return session.push(STEP).allowed

    with ThreadPoolExecutor(len(marks)) as pool:
        allowed = list(pool.map(judge, marks))
    assert allowed == [n % 3 != 0 for n in range(12)]
    steps = [len(call) for call in engine.calls if call[0].consume]
    assert sum(steps) == sum(len(ids_of(SAFE)) + 2 * (n % 3 == 0) for n in range(12))
    assert max(steps) > 6


def test_moderate_is_pushing(engine: FakeEngine) -> None:
    guard = guard_of(COARSE, engine)
    engine.script = writes(SAFE)
    contents = [{"role": "agent", "action": f"act{n}"} for n in range(3)]
    trajectory = {"profile": "P", "contents": contents}
    seen: list[tuple[int, int]] = []
    found = guard.moderate_many([trajectory] * 3, progress=lambda *at: seen.append(at))
    with guard.session("P") as session:
        pushed = [session.push(Step.from_dict(step)) for step in contents]
    for verdicts in found:
        assert [v.margin for v in verdicts] == [v.margin for v in pushed]
        assert all(v.allowed for v in verdicts)
    assert sorted(seen) == [(1, 3), (2, 3), (3, 3)]


def test_a_calibration_may_call_a_safe_word_unsafe_and_never_the_other_way(
    engine: FakeEngine,
) -> None:
    def status(text: str, bias: float) -> Status:
        entries = calibrated(writing_prompt(COARSE), "rationale", 1.0, bias)
        guard = guard_of(COARSE, engine, calibration=entries)
        engine.script = writes(text)
        with guard.session() as session:
            return session.push(STEP).status

    unsafe = SAFE.replace("safe", "unsafe")
    assert (status(SAFE, -99), status(SAFE, 99)) == ("safe", "unsafe")
    assert (status(unsafe, -99), status(unsafe, 99)) == ("unsafe", "unsafe")


def test_a_guard_that_only_diagnoses_gives_no_verdict(engine: FakeEngine) -> None:
    guard = make_guard(engine, writing_prompt("agentdog-1.5-finegrained"))
    assert not guard.prompt.gives_verdicts
    with guard.session() as session:
        session.observe(Step.user("x"))
        for call in (session.push, session.check, session.peek):
            with pytest.raises(PromptError, match="one that only diagnoses"):
                call(STEP)
    with pytest.raises(PromptError, match="one that only diagnoses"):
        guard.moderate({"contents": [{"role": "agent", "action": "a"}]})
