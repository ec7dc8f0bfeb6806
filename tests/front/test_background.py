"""Work that nobody waits for ends with its guard, and with the program."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import pytest

from stepguard.background import Background
from stepguard.errors import EngineClosed
from stepguard.taxonomy import Reason


def instead(reason: Reason, message: str) -> str:
    return f"{reason}: {message}"


def ours(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def test_jobs_run_in_their_order_on_one_thread() -> None:
    background, seen = Background("test-order"), list[int]()
    futures = [background.submit(lambda n=n: seen.append(n), instead) for n in range(50)]
    for future in futures:
        future.result(10)
    assert seen == list(range(50))
    assert len(ours("test-order")) == 1
    background.close()
    background.join()
    assert ours("test-order") == []


def test_more_threads_are_made_where_there_is_more_to_do() -> None:
    background, gate = Background("test-many", 3), threading.Event()
    futures: list[Future[object]] = [background.submit(lambda: gate.wait(10), instead)]
    assert len(ours("test-many")) == 1
    futures += [background.submit(lambda: gate.wait(10), instead) for _ in range(9)]
    assert len(ours("test-many")) == 3
    gate.set()
    assert all(future.result(10) for future in futures)
    background.close()


def test_what_waits_is_not_begun_after_closing() -> None:
    background, gate, begun = Background("test-close"), threading.Event(), threading.Event()

    def first() -> str:
        begun.set()
        gate.wait(10)
        return "done"

    running = background.submit(first, instead)
    waiting = background.submit(lambda: "never", instead)
    assert begun.wait(10)
    background.close()
    background.close()
    gate.set()
    assert running.result(10) == "done"
    assert waiting.result(10) == "closing: the guard was closed"
    assert background.submit(lambda: "never", instead).result(0) == waiting.result()
    background.join()


def test_what_a_job_raises(caplog: pytest.LogCaptureFixture) -> None:
    def closed() -> str:
        raise EngineClosed("this guard", got="a closed one")

    def broken(*_: object) -> str:
        raise ZeroDivisionError("nothing")

    background = Background("test-raise")
    assert background.submit(closed, instead).result(10).startswith("closing: ")
    assert background.submit(broken, instead).result(10) == "internal: ZeroDivisionError: nothing"
    with pytest.raises(ZeroDivisionError):
        background.submit(broken, broken).result(10)
    assert background.submit(lambda: "still there", instead).result(10) == "still there"
    background.close()


def test_without_a_thread_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    background = Background("test-none")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        future = background.submit(lambda: "never", instead)
    assert future.result(0) == "internal: can't start new thread"
    assert background.submit(lambda: "later", instead).result(10) == "later"
    background.close()


def test_a_job_that_is_cancelled_is_not_run() -> None:
    background, gate = Background("test-cancel"), threading.Event()
    background.submit(lambda: gate.wait(10), instead)
    cancelled = background.submit(lambda: pytest.fail("it ran"), instead)
    assert cancelled.cancel()
    gate.set()
    assert background.submit(lambda: "next", instead).result(10) == "next"
    background.close()


def test_a_background_that_is_forgotten_leaves_no_thread() -> None:
    Background("test-forgotten", 2).submit(lambda: None, instead).result(10)
    gc.collect()
    deadline = time.monotonic() + 10
    while ours("test-forgotten") and time.monotonic() < deadline:
        time.sleep(0.001)
    assert ours("test-forgotten") == []


PROGRAM = """
import threading, time
from stepguard.background import Background

def job(n):
    print("job", n, flush=True)
    time.sleep(0.3)
    return n

background = Background()
for n in range(60):
    background.submit(lambda n=n: job(n), lambda *why: None).add_done_callback(
        lambda future: future.result() is None or print("done", future.result(), flush=True)
    )
time.sleep(0.1)
{end}
"""


def test_the_program_does_not_wait_for_what_waits() -> None:
    """The job under way ends: no thread may be at work when the interpreter is taken down."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(end="")], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "job 0\ndone 0\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_does_not_wait_for_the_threads_of_its_parent() -> None:
    end = """
import os, sys
if child := os.fork():
    print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
else:
    sys.exit(7)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM.format(end=end)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "child 7" in done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_is_told_that_an_answer_will_never_come() -> None:
    program = """
import asyncio, os, sys, threading
from stepguard.background import Background
from stepguard.errors import ForkedProcessError

go = threading.Event()
answer = Background().submit(lambda: go.wait(20) and 3, lambda *why: None)
if child := os.fork():
    go.set()
    print("parent", answer.result(20), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    sys.exit()
async def awaited():
    await asyncio.wrap_future(answer)
told = 0
for call in (answer.result, answer.exception, lambda: asyncio.run(awaited())):
    try:
        call()
    except ForkedProcessError:
        told += 1
os._exit(told)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "parent 3 3\n"), done.stderr
