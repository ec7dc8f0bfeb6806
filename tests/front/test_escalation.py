"""Two speeds: a verdict at once, and what the guard writes where that is not safe."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from stepguard import Guard, Reason, Status, Step, Trajectory
from stepguard.errors import ForkedProcessError, PromptError
from stepguard.opening import _check_escalation
from stepguard.prompt import place_fields
from stepguard.runtime import Segment
from stepguard.taxonomy import Verdict, lines_of
from tests.front.diagnosable import TAXONOMY
from tests.front.fakes import (
    FakeEngine,
    FakeTicket,
    byte_tokenizer,
    calibrated,
    make_guard,
    writing_prompt,
)
from tests.front.manifests import sample
from tests.front.test_rationale import SAFE, writes

FORM = "agentdog-1.5-coarse"
UNSAFE = SAFE.replace("safe", "unsafe")


def actions(guard: Guard, status: Status, count: int = 1) -> list[Step]:
    """Steps whose first verdict, by the fake engine's hash, has this status."""
    found = []
    plain = make_guard(FakeEngine(), guard.prompt)
    with plain.session() as session:
        for n in range(200):
            step = Step.agent("", f"act{n}")
            if session.peek(step).status is status:
                found.append(step)
            if len(found) == count:
                return found
    raise AssertionError("no such step")


@pytest.fixture
def guard(engine: FakeEngine) -> Guard:
    return make_guard(engine, writing_prompt(FORM), escalates=True)


def wrote(engine: FakeEngine) -> int:
    return sum(segment.next for call in engine.calls for segment in call)


def test_a_safe_verdict_costs_nothing_more(guard: Guard, engine: FakeEngine) -> None:
    with guard.session() as session:
        verdict = session.push(actions(guard, Status.SAFE)[0])
        assert (verdict.mode, verdict.status) == ("forced", "safe")
        assert session.rationale(verdict) is None
    assert wrote(engine) == 0


@pytest.mark.parametrize(("text", "status"), [(SAFE, "safe"), (UNSAFE, "unsafe")])
def test_the_written_verdict_holds(
    guard: Guard, engine: FakeEngine, text: str, status: str
) -> None:
    engine.script = writes(text)
    with guard.session() as session:
        verdict = session.push(actions(guard, Status.UNSAFE)[0])
    assert (verdict.mode, verdict.status, verdict.rationale) == ("rationale", status, text)
    assert wrote(engine) == len(text) + 1


def test_an_unsure_verdict_is_written_out(engine: FakeEngine) -> None:
    prompt = writing_prompt(FORM)
    entries = calibrated(prompt, "forced", 1e-6, 0.0)
    guard = make_guard(engine, prompt, escalates=True, calibration=entries)
    engine.script = writes(SAFE)
    with guard.session() as session:
        verdict = session.push(Step.agent("", "x"))
    assert (verdict.mode, verdict.status, verdict.calibrated) == ("rationale", "safe", False)


def test_what_cannot_be_read_leaves_the_first_verdict(guard: Guard, engine: FakeEngine) -> None:
    engine.script = writes("safe, I guess")
    with guard.session() as session:
        verdict = session.push(actions(guard, Status.UNSAFE)[0])
    assert (verdict.mode, verdict.status, verdict.reason) == ("forced", "unsafe", None)


def test_without_time_the_verdict_comes_now_and_the_rationale_later(
    guard: Guard, engine: FakeEngine
) -> None:
    gate = threading.Event()
    engine.script = waits(gate, writes(SAFE))
    unsafe = actions(guard, Status.UNSAFE)[0]
    with guard.session() as session:
        # Nothing is known about the pace yet, so nothing fits into any deadline.
        verdict = session.push(unsafe, deadline_ms=60_000)
        assert (verdict.mode, verdict.status) == ("forced", "unsafe")
        future = session.rationale(verdict)
        assert future is not None
        assert not future.done()
        gate.set()
        session.observe(Step.environment("the session goes on"))
        written = future.result(30)
        assert (written.mode, written.status, written.step) == ("rationale", "safe", verdict.step)
        assert written.rationale == SAFE
        # Now the pace is known: what fits is written at once.
        again = session.peek(unsafe, deadline_ms=60_000)
        assert again.mode == "rationale" or again.status is Status.SAFE
        gone = session.push(Step.agent("", "y"), deadline_ms=60_000)
        assert session.rationale(gone) is None


def waits(gate: threading.Event, script: Callable[..., int]) -> Callable[..., int]:
    def waiting(path: tuple[int, ...]) -> int:
        gate.wait(30)
        return script(path)

    return waiting


def test_a_pace_that_does_not_fit(guard: Guard, engine: FakeEngine) -> None:
    engine.script = writes(UNSAFE)
    unsafe = actions(guard, Status.UNSAFE)[0]
    assert guard._escalation is not None
    guard._escalation.pace.add(3600.0)
    with guard.session() as session:
        verdict = session.push(unsafe, deadline_ms=60_000)
        assert verdict.mode == "forced"
        future = session.rationale(verdict)
        assert future is not None
        assert future.result(30).status is Status.UNSAFE
    assert guard._escalation.pace.seconds < 3600.0


def test_a_deadline_that_passes_while_writing(guard: Guard, engine: FakeEngine) -> None:
    script = writes(UNSAFE)

    def slow(path: tuple[int, ...]) -> int:
        time.sleep(0.005)
        return script(path)

    engine.script = slow
    unsafe = actions(guard, Status.UNSAFE)[0]
    assert guard._escalation is not None
    guard._escalation.pace.add(0.001)
    with guard.session() as session:
        verdict = session.push(unsafe, deadline_ms=300)
    assert (verdict.mode, verdict.status) == ("forced", "unsafe")


def test_the_calls_of_a_turn_are_written_side_by_side(guard: Guard, engine: FakeEngine) -> None:
    engine.script = writes(UNSAFE)
    with guard.session() as session:
        turn = session.check_turn("", [f"act{n}" for n in range(8)])
    assert {verdict.status for verdict in turn.calls} <= {Status.UNSAFE, Status.SAFE}
    steps = [len(call) for call in engine.calls if call[0].consume]
    assert max(steps, default=0) > 1


def test_closing_ends_what_is_being_written(guard: Guard, engine: FakeEngine) -> None:
    gate = threading.Event()
    engine.script = waits(gate, writes(SAFE))
    session = guard.session()
    verdict = session.push(actions(guard, Status.UNSAFE)[0], deadline_ms=60_000)
    future = session.rationale(verdict)
    assert future is not None
    guard.close()
    gate.set()
    found: Verdict = future.result(30)
    assert (found.status, found.reason) == (Status.UNAVAILABLE, Reason.CLOSING)


def test_a_child_does_not_wait_for_what_its_parent_writes(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guard.session() as session:
        verdict = session.push(actions(guard, Status.UNSAFE)[0], deadline_ms=60_000)
        assert session.rationale(verdict) is not None
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: 1)
            with pytest.raises(ForkedProcessError):
                session.rationale(verdict)


class SlowWriter(FakeEngine):
    """Forests of the threads that write wait until they may run."""

    def __init__(self) -> None:
        super().__init__()
        self.may_write = threading.Event()
        self.script = writes(SAFE)

    def submit(self, segments: Sequence[Segment], *, seconds: float | None = None) -> FakeTicket:
        if threading.current_thread().name.startswith("stepguard-rationale"):
            assert self.may_write.wait(10)
        return super().submit(segments, seconds=seconds)


def test_what_waits_to_be_written_keeps_no_memory_from_others() -> None:
    engine = SlowWriter()
    guard = make_guard(engine, writing_prompt(FORM), escalates=True)
    shelves = guard._reader.shelves
    with guard.session() as session:
        found = [session.push(s, deadline_ms=60_000) for s in actions(guard, Status.UNSAFE, 20)]
        futures = [future for v in found if (future := session.rationale(v)) is not None]
        assert len(futures) > 6
        while shelves.evict():
            pass
        # What waits gave its State back, and reads it again.
        assert [state for shelf in shelves._shelves for state in shelf.kept] == []
        engine.may_write.set()
        written = [future.result(30) for future in futures]
    assert {(v.reason, v.rationale) for v in written} == {(None, SAFE)}
    assert all(not shelf.kept for shelf in shelves._shelves)


def test_too_many_that_wait_to_be_written() -> None:
    engine = SlowWriter()
    guard = make_guard(engine, writing_prompt(FORM), escalates=True)
    unsafe = actions(guard, Status.UNSAFE)[0]
    with guard.session() as session:
        found = [session.check(unsafe, deadline_ms=60_000) for _ in range(70)]
        last = session.rationale(found[-1])
        assert last is not None
        assert last.result(0).reason is Reason.DEADLINE
        engine.may_write.set()


@pytest.fixture
def thorough(engine: FakeEngine) -> Guard:
    """One that writes its answer out, and diagnoses."""
    prompt = writing_prompt("word")
    labels = place_fields(prompt, byte_tokenizer(), TAXONOMY, lines_of("word")).to_manifest()
    shape = {**sample()["architecture"], "vocabulary": 512}
    changes = {"taxonomy": "test", "diagnosis": labels, "architecture": shape}
    return make_guard(engine, prompt, escalates=True, **changes)


def test_a_verdict_with_a_diagnosis_has_its_rationale_too(
    thorough: Guard, engine: FakeEngine
) -> None:
    engine.script = writes("unsafe")
    with thorough.session() as session:
        verdict = session.push(actions(thorough, Status.UNSAFE)[0], deadline_ms=60_000)
        assert verdict.diagnosis is not None
        future = session.rationale(verdict)
        assert future is not None
        assert future.result(30).rationale == "unsafe"
        other = session.push(actions(thorough, Status.UNSAFE, 2)[1])
        assert session.rationale(other) is None


def test_calls_of_a_turn_have_their_rationale(guard: Guard, engine: FakeEngine) -> None:
    engine.script = writes(UNSAFE)
    with guard.session() as session:
        turn = session.check_turn("", ["act0", "act1", "act2"], deadline_ms=60_000)
        unsafe = [call for call in turn.calls if call.status is Status.UNSAFE]
        assert unsafe
        assert all(session.rationale(call) is not None for call in unsafe)


def test_whole_trajectories_are_diagnosed_only_where_that_is_wanted(
    thorough: Guard, engine: FakeEngine
) -> None:
    engine.script = writes("unsafe")
    trajectory = Trajectory("", tuple(actions(thorough, Status.UNSAFE, 3)))
    found = thorough.moderate(trajectory)
    assert Status.UNSAFE in {verdict.status for verdict in found}
    assert {verdict.diagnosis for verdict in found} == {None}
    assert any(verdict.diagnosis for verdict in thorough.moderate(trajectory, diagnose=True))


@pytest.mark.parametrize("limit", [0, -1, 16.5, True, "12", float("nan")])
def test_limits_that_no_answer_would_reach(tmp_path: Path, limit: Any) -> None:
    with pytest.raises(ValueError, match="rationale_limit: expected a whole number from 1"):
        Guard.load(tmp_path, rationale_limit=limit)


def test_modes_that_cannot_escalate() -> None:
    with pytest.raises(PromptError, match="writes nothing, to escalate from"):
        _check_escalation(writing_prompt(FORM, mode="rationale"), "rationale")
    prompt = writing_prompt(FORM)
    silent = {name: mode for name, mode in prompt.modes.items() if name != "rationale"}
    with pytest.raises(PromptError, match="mode: expected one of forced, got 'rationale'"):
        _check_escalation(type(prompt)(**{**_fields(prompt), "modes": silent}), "rationale")


def _fields(prompt: object) -> dict[str, object]:
    return {name: getattr(prompt, name) for name in prompt.__dataclass_fields__}  # type: ignore[attr-defined]
