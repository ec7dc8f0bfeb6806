"""A log has one writer, and no line of it is lost or mixed up."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepguard.audit import AuditLog, verify
from stepguard.errors import AuditError, ForkedProcessError
from tests.audit.logged import lines
from tests.audit.verdicts import verdict


def test_many_threads(path: Path) -> None:
    def work(number: int) -> None:
        for index in range(25):
            log.decision(verdict(step=index), session=str(number))

    with AuditLog(path, most_bytes=20_000) as log:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = verify([path])
    assert (found.whole, found.lines) == (True, 200)
    every = [line for name in found.files for line in lines(Path(name))]
    for number in range(8):
        steps = [line["step"] for line in every if line["session"] == str(number)]
        assert steps == list(range(25))


def test_a_second_writer_in_this_process(path: Path) -> None:
    with AuditLog(path) as log:
        with pytest.raises(AuditError, match=r"no other writer.*one in this process"):
            AuditLog(path)
        log.decision(verdict())
    AuditLog(path).close()


OTHER = """
import sys
from stepguard.audit import AuditLog
from stepguard.errors import AuditError
try:
    AuditLog(sys.argv[1])
except AuditError as error:
    print(error)
"""


def test_a_second_process(path: Path) -> None:
    command = [sys.executable, "-c", OTHER, str(path)]
    with AuditLog(path) as log:
        log.decision(verdict())
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert f"no other writer of this log, got process {os.getpid()}" in done.stdout
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == ""


KILLED = """
import os, signal, sys
from stepguard.audit import AuditLog
from tests.audit.verdicts import verdict
log = AuditLog(sys.argv[1])
log.decision(verdict())
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_lets_the_next_one_in(path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-c", KILLED, str(path)]
    assert subprocess.run(command, env=environment, check=False).returncode == -9
    with AuditLog(path) as log:
        log.decision(verdict())
    found = verify([path])
    assert (found.whole, found.lines) == (True, 2)


def in_child(log: AuditLog, pipe: Any) -> None:
    try:
        log.decision(verdict())
    except ForkedProcessError as error:
        pipe.send(str(error))
    log.close()


@pytest.fixture
def forking() -> Iterator[Any]:
    return multiprocessing.get_context("fork")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_of_fork_is_refused(path: Path, forking: Any) -> None:
    with AuditLog(path) as log:
        ours, theirs = forking.Pipe()
        child = forking.Process(target=in_child, args=(log, theirs))
        child.start()
        assert ours.poll(30)
        assert "made by fork" in ours.recv()
        child.join()
        log.decision(verdict())  # and the child's close took nothing from us
        with pytest.raises(AuditError):
            AuditLog(path)
