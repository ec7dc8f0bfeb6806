"""The log of decisions: what is in a line, and that no line is lost, mixed up or hidden."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepguard import Step
from stepguard.audit import START, AuditLog, hash_step, verify
from stepguard.audit.entry import Outcome
from stepguard.errors import AuditError, ForkedProcessError
from tests.audit.verdicts import SECRET, STEP, diagnosed, diagnosis, unavailable, verdict


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.jsonl"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_line_per_decision(path: Path) -> None:
    with AuditLog(path) as log:
        log.decision(verdict(), step=STEP, session="s")
        log.decision(
            diagnosed(),
            step=STEP,
            outcome=Outcome("block", "risky-tools", ["page"]),
            timings_ms={"policy": 0.5},
            about={"tool": "send", "try": 2},
        )
        log.decision(unavailable())
        log.diagnosis(diagnosis(), session="s")
    one, two, three, four = lines(path)
    assert [line["seq"] for line in (one, two, three, four)] == [0, 1, 2, 3]
    assert (one["kind"], one["session"], one["step"]) == ("decision", "s", 3)
    assert one["verdict"]["allowed"] is True
    assert one["verdict"]["margin"] == -1.5
    assert one["policy"] is one["diagnosis"] is None
    assert (one["model"], one["prompt"], one["text"]) == ("a" * 64, "b" * 64, hash_step(STEP))
    assert two["policy"] == {"outcome": "block", "rule": "risky-tools", "labels": ["page"]}
    assert two["timings_ms"] == {"verdict": 12.5, "policy": 0.5}
    assert two["about"] == {"tool": "send", "try": 2}
    assert two["diagnosis"]["best"] == {"risk_source": "page"}
    assert three["verdict"]["reason"] == "malformed"
    assert three["text"] is None
    assert (four["kind"], four["diagnosis"]["risk_source"]["tool"]) == ("diagnosis", 0.25)


def test_content_only_when_asked(path: Path, tmp_path: Path) -> None:
    for content in (False, True):
        log = tmp_path / str(content)
        with AuditLog(log, content=content) as open_log:
            open_log.decision(verdict(), step=STEP)
            open_log.decision(unavailable(), step=STEP)
        assert (SECRET in log.read_text()) is content
    found = lines(tmp_path / "True")
    assert found[0]["content"]["fields"] == [["thought", SECRET], ["action", 'send("all")']]
    assert found[0]["content"]["rationale"] == f"It says {SECRET}."
    assert found[1]["content"]["message"] == SECRET


def test_every_line_carries_the_hash_of_the_line_before(path: Path) -> None:
    with AuditLog(path) as log:
        returned = [log.decision(verdict()) for _ in range(5)]
        assert log.head == returned[-1]
    raw = path.read_bytes().splitlines()
    hashes = [hashlib.sha256(line).hexdigest() for line in raw]
    assert hashes == returned
    assert [json.loads(line)["prev"] for line in raw] == [START, *hashes[:-1]]


def test_the_hash_of_a_step_is_that_of_its_json() -> None:
    step = Step.user("ä\ud800\n")
    text = '["user",[["content","\\u00e4\\ud800\\n"]]]'
    assert hash_step(step) == hashlib.sha256(text.encode()).hexdigest()


def test_nobody_else_can_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        with AuditLog(path, most_bytes=1) as log:
            log.decision(verdict())
            log.decision(verdict())
    finally:
        os.umask(before)
    for name in path.parent.iterdir():
        assert stat.S_IMODE(name.stat().st_mode) == 0o600, name


def test_a_file_that_others_could_read_is_refused(path: Path) -> None:
    path.write_text("")
    path.chmod(0o644)
    with pytest.raises(AuditError, match=r"mode 0600.*got mode 0644.*chmod 600"):
        AuditLog(path)
    path.chmod(0o600)
    AuditLog(path).close()  # and the refused one holds no lock


def test_a_link_is_refused(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditError):
        AuditLog(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_pipe_is_refused(path: Path) -> None:
    os.mkfifo(path, 0o600)
    with pytest.raises(AuditError):
        AuditLog(path)


def test_the_chain_goes_on_over_files_and_openings(path: Path) -> None:
    for _ in range(3):
        with AuditLog(path, most_bytes=2500) as log:
            for _ in range(7):
                log.decision(verdict(), step=STEP)
    found = verify([path])
    assert found.whole
    assert found.lines == 21
    assert len(found.files) > 4
    assert found.files[-1] == str(path)
    assert all(Path(name).stat().st_size <= 2500 for name in found.files)


def test_one_write_per_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = os.write, []

    def write(handle: int, data: bytes) -> int:
        written.append(bytes(data))
        return real(handle, data)

    with AuditLog(path) as log:
        monkeypatch.setattr(os, "write", write)
        log.decision(verdict())
        log.decision(verdict())
        monkeypatch.undo()
    assert b"".join(written) == path.read_bytes()
    assert [data.count(b"\n") for data in written] == [1, 1]


def test_fsync(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with AuditLog(path) as log:
        log.decision(verdict())
        assert synced == []
    with AuditLog(path, fsync=True) as log:
        log.decision(verdict())
        assert len(synced) == 1


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


def test_a_file_that_is_moved_away(path: Path, tmp_path: Path) -> None:
    with AuditLog(path) as log:
        log.decision(verdict())
        path.rename(tmp_path / "kept")
        log.decision(verdict())
        path.unlink()
        log.decision(verdict())
    assert [line["kind"] for line in lines(path)] == ["note", "decision"]
    (broken,) = verify([path]).breaks  # what was unlinked is missed
    assert "missing" in broken.what


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


def test_a_closed_log(path: Path) -> None:
    log = AuditLog(path)
    log.close()
    log.close()
    with pytest.raises(AuditError, match="closed"):
        log.decision(verdict())


@pytest.mark.parametrize("about", [{"a": [1]}, {"a": float("nan")}, {"a": object()}])
def test_what_json_cannot_say(path: Path, about: dict[str, Any]) -> None:
    with AuditLog(path) as log:
        with pytest.raises(AuditError):
            log.decision(verdict(), about=about)
        log.decision(verdict(), about={"odd": "\ud800\0\n\u2028"})
    found = verify([path])
    assert (found.whole, found.lines) == (True, 1)


def test_an_outcome_that_is_none(path: Path) -> None:
    """The word alone, where an Outcome belongs: named, and nothing is written."""
    with AuditLog(path) as log:
        with pytest.raises(AuditError, match="outcome: expected an Outcome, or None, got str"):
            log.decision(verdict(), outcome="block")  # type: ignore[arg-type]
        log.decision(verdict())
    assert verify([path]).lines == 1


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="No such file"):
        AuditLog(tmp_path / "no" / "log")


def test_a_size_that_is_none(path: Path) -> None:
    with pytest.raises(ValueError, match="most_bytes"):
        AuditLog(path, most_bytes=0)


def test_nobody_is_told_to_close_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(AuditError, match="another kind of file") as found:
        AuditLog(tmp_path / "pipe")
    assert "chmod" not in found.value.fix
