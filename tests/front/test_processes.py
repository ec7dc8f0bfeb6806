"""Processes side by side on one directory, and children of fork."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from stepguard import Guard
from tests.front.bad_cases import MEMORY
from tests.front.refused import ACTION, python


def test_two_processes_on_one_directory(small_guards: dict[str, Path], tmp_path: Path) -> None:
    """At the same time, with an empty cache: each answers, with the same bits, and nothing of it
    hinders the next."""
    code = (
        "import sys\nfrom stepguard import Guard, Step\nprint('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "with Guard.load(sys.argv[1], memory=16 << 20) as guard:\n"
        "    print(guard.session().push(Step.agent('', 'call()')).margin.hex())\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(small_guards["attention"])],
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        print(file=process.stdin, flush=True)
    answers = [process.communicate(timeout=120) for process in processes]
    assert [error for _, error in answers] == ["", ""]
    with Guard.load(small_guards["attention"], memory=MEMORY, save_prefix=False) as guard:
        margin = guard.session().push(ACTION).margin
    assert margin is not None
    assert [float.fromhex(out) for out, _ in answers] == [margin] * 2
    assert len(list((tmp_path / "stepguard" / "prefix").iterdir())) == 1


FORKED = """
import os, sys
from stepguard import Guard, Step
from stepguard.errors import ForkedProcessError
step = Step.agent("", "call()")
guard = Guard.load(sys.argv[1], memory=16 << 20, save_prefix=False, threads=2)
session = guard.session()
verdict = session.check(step)
child = os.fork()
if child == 0:
    calls = [
        lambda: session.push(step), lambda: session.observe(step), lambda: session.peek(step),
        lambda: session.judge(), lambda: session.check_turn("", ["a"]), lambda: session.fork(),
        lambda: session.commit(verdict), lambda: session.reject(verdict), lambda: guard.stats(),
        lambda: guard.session(),
        lambda: guard.moderate({"contents": [{"role": "user", "content": "x"}]}),
    ]
    for call in calls:
        try:
            call()
            print("no error")
        except ForkedProcessError as error:
            print(bool(error.where and error.expected and error.got and error.fix))
    session.close()
    guard.close()
    sys.exit(0)  # as any program ends
assert os.waitpid(child, 0)[1] == 0
session.commit(verdict)
print("parent", session.push(step).reason)
"""


def test_a_child_of_fork_is_told_at_its_first_call(small_guards: dict[str, Path]) -> None:
    lines = python("-c", FORKED, small_guards["attention"]).splitlines()
    assert lines == ["True"] * 11 + ["parent None"]
