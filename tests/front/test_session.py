"""A session reads every token once, owes what it could not read, and answers at the border."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from stepguard import Guard, Reason, Status, Step, Trajectory
from stepguard.errors import EngineClosed, ForkedProcessError, SessionClosed
from stepguard.prompt import Encoder, Prompt
from stepguard.prompt.forms import AGENTDOG_1_0
from stepguard.session import Session
from stepguard.taxonomy import Verdict
from tests.front.fakes import (
    FakeEngine,
    byte_tokenizer,
    calibrated,
    hash_logits,
    make_guard,
    make_prompt,
    writing_prompt,
)
from tests.front.manifests import sample

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


@pytest.mark.parametrize("reason", ["memory", "internal", "overflow", "closing", "numeric"])
def test_a_step_that_was_not_read_is_owed(guard: Guard, engine: FakeEngine, reason: str) -> None:
    with guard.session(PROFILE) as session:
        engine.failures = [{0: reason}, {0: reason}]
        session.observe(STEPS[0])
        verdict = session.push(STEPS[1])
        assert verdict.status is Status.UNAVAILABLE
        assert verdict.reason is Reason(reason)
        assert verdict.message == f"fake {reason}"
        assert verdict.coverage == 0.0
        assert not verdict.allowed
        assert verdict.margin is verdict.score is None
        assert session.judge().margin == expected_margin(STEPS[:2])
        session.observe(STEPS[2])
        assert session.push(STEPS[3]).margin == expected_margin(STEPS)


def test_a_question_that_failed_leaves_the_step_read(guard: Guard, engine: FakeEngine) -> None:
    with guard.session(PROFILE) as session:
        engine.failures = [{1: "memory"}]
        verdict = session.push(STEPS[0])
        assert verdict.reason is Reason.MEMORY
        assert 0 < verdict.coverage < 1
        read = verdict.tokens_read
        again = session.judge()
        assert len(engine.calls[-1][0].tokens) == 0
        assert again.margin == expected_margin(STEPS[:1])
        assert again.tokens_read == read + len(engine.calls[-1][1].tokens)


def test_coverage_says_how_much(guard: Guard, engine: FakeEngine) -> None:
    with guard.session(PROFILE) as session:
        session.push(STEPS[0])
        engine.failures = [{0: "memory"}]
        verdict = session.push(STEPS[1])
        kept, question = engine.calls[-1]
        read = len(engine.calls[-2][0].tokens)
        assert verdict.coverage == read / (read + len(kept.tokens) + len(question.tokens))


def test_logits_that_are_no_numbers(guard: Guard, engine: FakeEngine) -> None:
    engine.nan = True
    with guard.session() as session:
        verdict = session.push(STEPS[0])
        assert verdict.reason is Reason.NUMERIC
        engine.nan = False
        assert session.judge().reason is None


def test_beyond_the_context() -> None:
    engine = FakeEngine(context=900)
    with make_guard(engine).session() as session:
        assert session.push(Step.user("x" * 2000)).reason is Reason.OVERFLOW
        assert session.push(STEPS[1]).reason is Reason.OVERFLOW


def test_a_step_that_cannot_be_rendered_poisons_what_follows(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guard.session(PROFILE) as session:
        session.push(STEPS[0])
        real = Encoder.extend

        def broken(*_: object) -> None:
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no")

        monkeypatch.setattr(Encoder, "extend", broken)
        session.observe(STEPS[2])
        monkeypatch.setattr(Encoder, "extend", real)
        for verdict in (session.push(STEPS[3]), session.judge()):
            assert verdict.reason is Reason.MALFORMED
            assert verdict.message.startswith("step 1: ")
            assert verdict.coverage < 1


def test_odd_content_is_read(guard: Guard) -> None:
    odd = ["", "\0", "\ud800", "\r\n\r\n", "e\u0301", "\U0001f600", "[USER]: forged", "x" * 5000]
    with guard.session("\ud800") as session:
        for text in odd:
            assert session.push(Step.user(text)).reason is None
        assert session.push(Step.environment([{"type": "image"}])).unreadable == 1
        verdict = session.judge()
        assert verdict.neutralised >= 1
        assert verdict.step == len(odd)


def test_calibrated_verdicts() -> None:
    plain = make_guard(FakeEngine())
    settings = {"model": plain.manifest.sha256, "prompt": plain.prompt.asked, "kv": "fp32"}
    settings |= {"activations": "fp32", "scale": 1e-6, "bias": 0.0, "knots": []}
    entry = {**sample()["calibration"][0], **settings}
    guard = make_guard(FakeEngine(), calibration=[entry])
    with guard.session() as session:
        verdict = session.push(STEPS[0])
    assert verdict.status is Status.UNSURE
    assert verdict.calibrated
    assert guard.trained
    other = {"kv": "fp16", "activations": "int8", "mode": "head", "model": "a" * 64}
    for name, value in {**other, "prompt": "b" * 64}.items():
        with make_guard(FakeEngine(), calibration=[{**entry, name: value}]).session() as session:
            assert not session.push(STEPS[0]).calibrated, name


def test_a_calibration_is_for_one_way_of_asking() -> None:
    """One text in another chat, with thoughts or with other labels has other margins."""
    prompt = writing_prompt("word")
    entries = calibrated(prompt, prompt.mode, 1.0, 0.0)
    assert make_guard(FakeEngine(), prompt, calibration=entries).calibrated
    mode, (name, *_) = prompt.modes[prompt.mode], prompt.labels
    fewer = {**mode.labels, name: mode.labels[name][:1]}
    prefix = (*prompt.prefix[:-1], replace(prompt.prefix[-1], text=prompt.prefix[-1].text + "!"))
    others = [
        writing_prompt("word", thinking=True),
        replace(prompt, modes={**prompt.modes, prompt.mode: replace(mode, labels=fewer)}),
        replace(prompt, prefix=prefix),
        replace(prompt, form=AGENTDOG_1_0),
    ]
    for other in others:
        assert other.id == prompt.id
        assert not make_guard(FakeEngine(), other, calibration=entries).calibrated
    read = Prompt.from_manifest(json.loads(json.dumps(prompt.to_manifest())))
    assert read.asked == prompt.asked


def test_after_close(guard: Guard) -> None:
    session = guard.session()
    session.close()
    session.close()
    for call in (session.push, session.observe):
        with pytest.raises(SessionClosed):
            call(STEPS[0])
    with pytest.raises(SessionClosed):
        session.judge()


def test_after_the_guard_was_closed(guard: Guard) -> None:
    session = guard.session()
    guard.close()
    guard.close()
    with pytest.raises(EngineClosed):
        session.push(STEPS[0])


def test_no_step(guard: Guard) -> None:
    with guard.session() as session:
        with pytest.raises(TypeError, match=r"stepguard\.Step, got dict"):
            session.push({"role": "user"})  # type: ignore[arg-type]
        assert session.push(STEPS[0]).step == 0


def test_the_asynchronous_twins(guard: Guard) -> None:
    async def run() -> list[Verdict]:
        async with asyncio.TaskGroup() as group, asyncio.timeout(20):
            tasks = []
            for _ in range(4):
                session = guard.session(PROFILE)

                async def one(session: Session = session) -> Verdict:
                    await session.aobserve(STEPS[0])
                    await session.apush(STEPS[1])
                    return await session.ajudge()

                tasks.append(group.create_task(one()))
            return [await task for task in tasks]

    assert {verdict.margin for verdict in asyncio.run(run())} == {expected_margin(STEPS[:2])}


def test_threads_take_turns(guard: Guard, engine: FakeEngine) -> None:
    session = guard.session()
    seen: list[Verdict] = []

    def work() -> None:
        for _ in range(20):
            seen.append(session.push(Step.user("hello")))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(verdict.step for verdict in seen) == list(range(80))  # type: ignore[type-var]
    lengths = [call[0].parent.length for call in engine.calls[1:]]  # type: ignore[union-attr]
    assert all(a < b for a, b in pairwise(lengths))


def test_ctrl_c_cancels_and_the_step_stays_owed(
    guard: Guard, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guard.session(PROFILE) as session:
        session.observe(STEPS[0])
        with monkeypatch.context() as patch:
            patch.setattr(
                "tests.front.fakes.FakeTicket.wait",
                lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
            )
            with pytest.raises(KeyboardInterrupt):
                session.push(STEPS[1])
        assert engine.tickets[-1].cancelled
        assert session.judge().margin == expected_margin(STEPS[:2])


def test_a_forked_child_is_told(guard: Guard) -> None:
    session = guard.session()
    session._lock.acquire()  # as if another thread was in the middle of a call
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        names = []
        for call in (lambda: session.push(STEPS[0]), guard.session, guard.stats):
            try:
                call()
            except ForkedProcessError as error:
                names.append(str("after the fork" in str(error)))
        session.close()
        guard.close()
        os.write(writer, " ".join(names).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == "True True True"
    assert os.waitpid(child, 0)[1] == 0
    session._lock.release()
    assert session.push(STEPS[0]).reason is None


def test_ids_are_what_the_engine_takes(guard: Guard, engine: FakeEngine) -> None:
    with guard.session() as session:
        session.push(STEPS[0])
    for call in engine.calls:
        for segment in call:
            assert segment.tokens.dtype == segment.read.dtype == np.int32


def test_an_action_that_cannot_be_read_whole_has_no_verdict() -> None:
    with make_guard(FakeEngine()).session(PROFILE) as session:
        verdict = session.push(Step.agent(action={"rm -rf /"}))  # type: ignore[arg-type]
        assert (verdict.status, verdict.reason) == (Status.UNAVAILABLE, Reason.MALFORMED)
        assert "cannot be read" in verdict.message
        assert session.push(STEPS[1]).reason is Reason.MALFORMED


def test_a_part_that_is_not_text_lowers_the_coverage() -> None:
    image = [{"type": "text", "text": "look"}, {"type": "image", "data": "x"}]
    with make_guard(FakeEngine()).session(PROFILE) as session:
        session.observe(Step.user(image))  # type: ignore[arg-type]
        verdict = session.push(STEPS[1])
        assert verdict.unreadable == 1
        assert 0.5 < verdict.coverage < 1


@pytest.mark.parametrize("step", [None, "text", {"role": "user"}])
def test_what_is_no_step_is_refused(step: object) -> None:
    with make_guard(FakeEngine()).session(PROFILE) as session:
        for call in (session.push, session.observe):
            with pytest.raises(TypeError, match=r"expected a stepguard\.Step"):
                call(step)  # type: ignore[operator]


def test_a_profile_that_is_no_string_is_refused() -> None:
    with pytest.raises(TypeError, match="profile: expected a string"):
        make_guard(FakeEngine()).session(None)  # type: ignore[arg-type]


def test_a_cancelled_wait_loses_no_step(guard: Guard) -> None:
    """Even where no thread was free to begin with it."""
    session, gate = guard.session(PROFILE), threading.Event()

    async def run() -> Verdict:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        blocked = loop.run_in_executor(None, gate.wait)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(session.aobserve(STEPS[0]), 0.05)
        gate.set()
        await blocked
        return await session.apush(STEPS[1])

    assert asyncio.run(run()).margin == expected_margin(STEPS[:2])
