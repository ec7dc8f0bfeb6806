"""A guard reads whole trajectories as one forest each, with the very answers of a session."""

from __future__ import annotations

from typing import Any

import pytest

import stepguard
from stepguard import Guard, Reason, Step, Trajectory
from stepguard.errors import EngineClosed, ModelFormatError, StepguardError, TrajectoryError
from stepguard.prompt import Encoder
from stepguard.taxonomy import Verdict
from tests.front.fakes import FakeEngine, byte_tokenizer, make_guard, make_prompt
from tests.front.manifests import sample

TRAJECTORY: dict[str, Any] = {
    "profile": "You may read.",
    "contents": [
        [
            {"role": "user", "content": "Read it."},
            {"role": "agent", "thought": "Reading.", "action": "read()"},
            {"role": "environment", "content": "text"},
        ],
        [
            {"role": "user", "content": "And now?"},
            {"role": "agent", "thought": "Thinking.", "action": ""},
            {"role": "agent", "thought": "Done.", "action": 'Complete{"response": "text"}'},
            {"role": "environment", "content": "thanks"},
        ],
    ],
}
TALK: dict[str, Any] = {"profile": "", "contents": [{"role": "user", "content": "Hello?"}]}


def answers(verdicts: list[Verdict]) -> list[tuple[object, ...]]:
    """All but the time."""
    return [(v.status, v.reason, v.margin, v.step, v.tokens_read, v.coverage) for v in verdicts]


def pushed(guard: Guard, value: dict[str, Any]) -> list[Verdict]:
    trajectory = Trajectory.from_dict(value)
    verdicts = []
    with guard.session(trajectory.profile) as session:
        for step in trajectory.steps:
            if step.is_action:
                verdicts.append(session.push(step))
            else:
                session.observe(step)
        return verdicts or [session.judge()]


@pytest.mark.parametrize("value", [TRAJECTORY, TALK])
def test_at_once_is_step_by_step(guard: Guard, value: dict[str, Any]) -> None:
    expected = answers(pushed(guard, value))
    assert answers(guard.moderate(value)) == expected
    assert answers(guard.moderate(Trajectory.from_dict(value))) == expected
    assert [answers(one) for one in guard.moderate_many([value, TALK, value])] == [
        expected,
        answers(pushed(guard, TALK)),
        expected,
    ]


def test_a_trajectory_is_one_forest(guard: Guard, engine: FakeEngine) -> None:
    before = len(engine.calls)
    assert [verdict.step for verdict in guard.moderate(TRAJECTORY)] == [1, 5]
    (call,) = engine.calls[before:]
    assert [segment.parent for segment in call[1:]] == [0, 0, 2]
    assert not any(segment.keep for segment in call)  # nobody goes on from here


def test_nothing_to_moderate(guard: Guard) -> None:
    assert guard.moderate_many([]) == []
    with pytest.raises(TrajectoryError, match="at least one step"):
        guard.moderate({"profile": "", "contents": []})
    with pytest.raises(TrajectoryError, match=r"contents\[0\]"):
        guard.moderate({"contents": [{"role": "robot", "content": ""}]})


@pytest.mark.parametrize(
    ("failing", "coverage"), [({0: "memory"}, [0, 0]), ({1: "memory"}, None), ({2: "memory"}, None)]
)
def test_what_failed_and_what_did_not(
    guard: Guard, engine: FakeEngine, failing: dict[int, str], coverage: list[float] | None
) -> None:
    good = answers(guard.moderate(TRAJECTORY))
    engine.failures = [failing]
    found = guard.moderate(TRAJECTORY)
    for index, verdict in enumerate(found):
        failed = {0: True, 1: index == 0, 2: index == 1}[next(iter(failing))]
        assert (verdict.reason is Reason.MEMORY) == failed
        if failed:
            assert verdict.coverage < 1
        else:
            assert verdict.margin == good[index][2]
    if coverage is not None:
        assert [verdict.coverage for verdict in found] == coverage


def test_coverage_of_a_chain_that_broke(guard: Guard, engine: FakeEngine) -> None:
    engine.failures = [{2: "memory"}]
    verdict = guard.moderate(TRAJECTORY)[1]
    first, _, second, question = (len(segment.tokens) for segment in engine.calls[-1])
    assert verdict.coverage == first / (first + second + question)
    assert verdict.tokens_read == 0


def test_a_step_that_cannot_be_rendered(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    good = guard.moderate(TRAJECTORY)
    real = Encoder.extend

    def broken(self: Encoder, border: Any, step: Step) -> Any:
        if step.role == "environment":
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no")
        return real(self, border, step)

    monkeypatch.setattr(Encoder, "extend", broken)
    first, second = guard.moderate(TRAJECTORY)
    assert first.margin == good[0].margin
    assert second.reason is Reason.MALFORMED
    assert second.message.startswith("step 2: ")


def test_many_wait_for_room() -> None:
    engine = FakeEngine(pages=40)  # room for 960 tokens
    guard = make_guard(engine)
    long = {"profile": "p" * 400, "contents": TRAJECTORY["contents"]}
    waiting: list[int] = []
    real = engine.submit

    def submit(segments: Any) -> Any:
        ticket = real(segments)
        waiting.append(sum(not hasattr(t, "seen") for t in engine.tickets))
        wait = ticket.wait
        ticket.wait = lambda timeout=None: (setattr(ticket, "seen", True), wait(timeout))[1]
        return ticket

    engine.submit = submit  # type: ignore[method-assign]
    found = guard.moderate_many([long] * 5)
    assert len({tuple(answers(one)) for one in found}) == 1
    assert waiting == [2] * 5  # one of ours, beside the prefix's


def test_progress(guard: Guard, engine: FakeEngine) -> None:
    engine.slices = 2
    seen: list[tuple[int, int]] = []
    guard.moderate_many([TRAJECTORY, TALK], progress=lambda done, total: seen.append((done, total)))
    total = seen[-1][1]
    assert len(seen) == 6
    assert seen[-1] == (total, total)
    assert all(done <= total for done, _ in seen)


def test_an_interrupt_cancels_all(guard: Guard, engine: FakeEngine) -> None:
    engine.slices = 1

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guard.moderate_many([TRAJECTORY, TALK], progress=stop)
    assert [ticket.cancelled for ticket in engine.tickets[-2:]] == [True, True]


def test_a_closed_guard(guard: Guard, engine: FakeEngine) -> None:
    with guard:
        pass
    assert engine.closed
    with pytest.raises(EngineClosed):
        guard.moderate(TRAJECTORY)


def test_what_it_says_of_itself(guard: Guard) -> None:
    assert (guard.isa, guard.threads, guard.kv, guard.trained) == ("fake", 1, "fp32", False)
    assert make_guard(FakeEngine(), heads=sample()["heads"]).trained
    assert make_guard(FakeEngine(), origin=sample()["origin"]).trained  # with an adapter


def test_a_prefix_that_cannot_be_read() -> None:
    engine = FakeEngine()
    engine.failures = [{0: "memory"}]
    with pytest.raises(ValueError, match="memory: too small"):
        make_guard(engine)
    with pytest.raises(ModelFormatError, match="overflow"):
        make_guard(FakeEngine(context=10))


def test_ids_beyond_the_table() -> None:
    """Of the prompt; those of the tokenizer are refused where it is loaded."""
    from stepguard.opening import _check_vocabulary

    encoder = Encoder(make_prompt(), byte_tokenizer())
    most = max([*encoder.prefix_ids, *encoder.question(encoder.begin("").border)])
    _check_vocabulary(int(most) + 1, encoder)
    with pytest.raises(StepguardError, match=f"below the model's {most} rows, got id {most}"):
        _check_vocabulary(int(most), encoder)


def test_the_names_of_the_package() -> None:
    for name in stepguard.__all__:
        assert hasattr(stepguard, name)
