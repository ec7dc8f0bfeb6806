"""Calls of threads, coroutines and children of fork: one at a time, and misuse is raised."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from stepguard import Guard, Step
from stepguard.errors import EngineClosed, ForkedProcessError, SessionClosed
from stepguard.session import Session
from stepguard.taxonomy import Verdict
from tests.front.fakes import FakeEngine, make_guard
from tests.front.played import PROFILE, STEPS, expected_margin


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
