"""Threads share a guard: all make progress, nobody hangs when it closes, and idle it takes no CPU.

A thread that hangs in the compiled core would hang the whole run: threads are daemons here, and
what they were doing is printed.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stepguard import Guard, Reason, Step
from stepguard.errors import EngineClosed, SessionClosed
from stepguard.session import Session

THREADS = 8
PATIENCE = 60.0


@pytest.fixture
def guard(small_guards: dict[str, Path]) -> Iterator[Guard]:
    with Guard.load(
        small_guards["attention"], memory=64 << 20, threads=2, save_prefix=False
    ) as guard:
        yield guard


def step(number: int) -> Step:
    return Step.agent("I go on.", f"call({number})")


def start(work: Callable[[int], None], count: int = THREADS) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread]) -> None:
    until = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        faulthandler.dump_traceback(sys.__stderr__)
        pytest.fail(f"threads hang after {PATIENCE} s")


def test_eight_threads_make_progress_together(guard: Guard) -> None:
    wanted, done, at_first_end = 30, [0] * THREADS, list[list[int]]()
    begin = threading.Barrier(THREADS)

    def work(number: int) -> None:
        with guard.session(f"agent {number}") as session:
            begin.wait(PATIENCE)
            for place in range(wanted):
                assert session.push(step(place)).reason is None
                done[number] += 1
            at_first_end.append(list(done))

    join(start(work))
    assert done == [wanted] * THREADS
    print("steps done when the first thread had all:", at_first_end[0])
    # Each waits for its own answer, so all would be level if the system were fair as well.
    assert min(at_first_end[0]) >= wanted // 3


def test_a_guard_that_closes_under_eight_threads(guard: Guard) -> None:
    ends: list[object] = [None] * THREADS
    pushed = threading.Semaphore(0)

    def work(number: int) -> None:
        session = guard.session()
        for place in range(100_000):
            try:
                verdict = session.push(step(place))
            except EngineClosed as error:
                ends[number] = error
                return
            if verdict.reason not in (None, Reason.OVERFLOW):
                ends[number] = verdict.reason
                return
            pushed.release()

    threads = start(work)
    for _ in range(5 * THREADS):
        assert pushed.acquire(timeout=PATIENCE)
    guard.close()
    join(threads)
    assert all(end is Reason.CLOSING or isinstance(end, EngineClosed) for end in ends), ends
    for error in (end for end in ends if isinstance(end, EngineClosed)):
        assert error.fix == "Load it again."


def test_sessions_that_are_closed_while_they_push(guard: Guard) -> None:
    sessions = [guard.session() for _ in range(THREADS)]
    ends: list[str] = [""] * THREADS
    pushed = [threading.Event() for _ in sessions]

    def work(number: int) -> None:
        for place in range(100_000):
            try:
                verdict = sessions[number].push(step(place))
            except SessionClosed:
                ends[number] = "closed"
                return
            assert verdict.reason in (None, Reason.OVERFLOW)
            pushed[number].set()

    threads = start(work)
    for event, session in zip(pushed, sessions, strict=True):
        assert event.wait(PATIENCE)
        session.close()
    join(threads)
    assert ends == ["closed"] * THREADS
    with guard.session() as session:  # nothing of it hurts others
        assert session.push(step(0)).reason is None


def test_threads_that_share_one_session_and_fork_it(guard: Guard) -> None:
    """Calls are done one after another, whoever makes them; a fork belongs to its thread."""
    session = guard.session()
    margins: list[float | None] = [None] * THREADS

    def work(number: int) -> None:
        for _ in range(5):
            fork: Session = session.fork()
            with fork:
                margins[number] = fork.push(step(1)).margin
            session.peek(step(2))

    join(start(work))
    assert set(margins) == {session.push(step(1)).margin}


def cpu_seconds(task: int) -> float:
    """CPU time of one thread of this process, by its number in the system."""
    clock = (~task << 3) | 6  # how Linux names the clock of a thread
    return time.clock_gettime(clock)


def tasks() -> set[int]:
    return {int(path.name) for path in Path("/proc/self/task").iterdir()}


@pytest.mark.skipif(sys.platform != "linux", reason="clocks of single threads are Linux's")
def test_an_idle_guard_takes_no_cpu(small_guards: dict[str, Path]) -> None:
    before = tasks()
    with Guard.load(
        small_guards["attention"], memory=64 << 20, threads=4, save_prefix=False
    ) as guard:
        ours = tasks() - before
        assert len(ours) == 4
        assert guard.session().push(Step.user("many words " * 300)).reason is None
        worked = sum(map(cpu_seconds, ours))
        time.sleep(2.0)
        idle = sum(map(cpu_seconds, ours)) - worked
    print(f"{worked * 1000:.1f} ms at work, {idle * 1000:.3f} ms in two idle seconds")
    assert worked > 0.005  # the clocks do run
    assert idle < 0.02
