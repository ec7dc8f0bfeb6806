"""Lines that a crash or a full disk cut off are said, and the log goes on behind them."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from stepguard.audit import AuditLog, verify
from stepguard.errors import AuditError
from tests.audit.logged import lines
from tests.audit.verdicts import verdict


def tear(path: Path, rest: bytes) -> None:
    with path.open("ab") as file:
        file.write(rest)


@pytest.mark.parametrize("rest", [b'{"v":1,"seq":2,"prev":"ab', b"\0\0\0\0", b"\n", b"no line\n"])
def test_a_torn_last_line_is_said_and_continued(path: Path, rest: bytes) -> None:
    with AuditLog(path) as log:
        log.decision(verdict())
        log.decision(verdict())
    tear(path, rest)
    with AuditLog(path) as log:
        log.decision(verdict())
    raw = path.read_bytes().splitlines()
    assert raw[2] == rest.rstrip(b"\n")  # it is still there
    note, last = json.loads(raw[3]), json.loads(raw[4])
    assert (note["kind"], note["note"], note["seq"]) == ("note", "torn", 2)
    assert last["seq"] == 3
    found = verify([path])
    assert found.whole
    assert found.torn == (f"{path}: line 3",)


def test_a_whole_line_without_its_line_break(path: Path) -> None:
    with AuditLog(path) as log:
        log.decision(verdict())
        log.decision(verdict())
    path.write_bytes(path.read_bytes()[:-1])
    assert verify([path]).unfinished > 0
    with AuditLog(path) as log:
        log.decision(verdict())
    assert [line["seq"] for line in lines(path)] == [0, 1, 2, 3]
    found = verify([path])
    assert found.whole
    assert found.unfinished == 0


def test_the_first_line_torn(path: Path) -> None:
    AuditLog(path).close()
    tear(path, b'{"v":')
    with AuditLog(path) as log:
        log.decision(verdict())
    found = verify([path])
    assert (found.whole, found.lines) == (True, 3)


def test_a_full_file_and_nothing_in_the_new_one(path: Path) -> None:
    with AuditLog(path, most_bytes=1) as log:
        log.decision(verdict())
        log.decision(verdict())
    path.rename(path.with_name(path.name + ".000002"))  # a crash between the two
    with AuditLog(path) as log:
        log.decision(verdict())
    found = verify([path])
    assert (found.whole, found.lines) == (True, 3)


@pytest.mark.parametrize("room", [0, 5, -1])
def test_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """room: bytes that still fit; -1: all but the line break."""
    real = os.write

    def write(handle: int, data: bytes) -> int:
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data[:room])

    with AuditLog(path) as log:
        log.decision(verdict())
        monkeypatch.setattr(os, "write", write)
        with pytest.raises(AuditError, match=r"No space left|bytes of a line"):
            log.decision(verdict(step=4))
        monkeypatch.undo()
        log.decision(verdict(step=5))
    found = verify([path])
    assert found.whole
    assert found.lines == {0: 2, 5: 4, -1: 4}[room]
    assert len(found.torn) == (1 if room else 0)
    assert lines_of_decisions(path)[-1]["step"] == 5


def lines_of_decisions(path: Path) -> list[dict[str, Any]]:
    found = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return [line for line in found if line["kind"] == "decision"]
