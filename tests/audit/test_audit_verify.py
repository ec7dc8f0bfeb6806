"""Whatever happens to the files of a log, the check says where."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepguard.audit import START, AuditLog, verify
from stepguard.audit.chain import digest
from stepguard.errors import AuditError
from tests.audit.verdicts import verdict

COUNT = 12


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log in one file."""
    path = tmp_path / "log"
    with AuditLog(path) as writer:
        for step in range(COUNT):
            writer.decision(verdict(step=step))
    return path


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A log in several files, of three lines or so."""
    path = tmp_path / "parts"
    with AuditLog(path, most_bytes=2400) as writer:
        for step in range(COUNT):
            writer.decision(verdict(step=step))
    return path


def change(path: Path, make: Callable[[list[bytes]], object]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    make(lines)
    path.write_bytes(b"".join(lines))


def test_a_whole_log(log: Path) -> None:
    found = verify([log])
    assert found.whole
    assert (found.lines, found.files, found.torn, found.unfinished) == (COUNT, (str(log),), (), 0)
    assert found.head == digest(log.read_bytes().splitlines()[-1])


@pytest.mark.parametrize("index", range(COUNT - 1))
def test_a_changed_byte(log: Path, index: int) -> None:
    def swap(lines: list[bytes]) -> None:
        assert b'"allowed":true' in lines[index]
        lines[index] = lines[index].replace(b'"score":0.18', b'"score":0.98')

    before = log.read_bytes().splitlines()[index]
    change(log, swap)
    (broken,) = verify([log]).breaks
    # It shows at the next line, which carries the hash of the line as it was.
    assert (broken.line, broken.got) == (index + 2, digest(before))
    assert broken.expected == digest(log.read_bytes().splitlines()[index])
    assert "changed" in broken.what


def test_only_an_anchor_holds_the_last_line(log: Path) -> None:
    anchor = verify([log]).head
    change(log, lambda lines: lines.append(lines.pop().replace(b"0.18", b"0.98")))
    assert verify([log]).whole
    (broken,) = verify([log], anchor=anchor).breaks
    assert (broken.line, broken.expected) == (COUNT, anchor)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_changed_byte_but_in_the_last_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("any")
    with AuditLog(folder / "log") as writer:
        for step in range(4):
            writer.decision(verdict(step=step))
    content = bytearray((folder / "log").read_bytes())
    last = bytes(content[:-1]).rfind(b"\n") + 1
    at = data.draw(st.integers(0, last - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    (folder / "log").write_bytes(bytes(content))
    assert not verify([folder / "log"]).whole


@pytest.mark.parametrize("index", range(COUNT - 1))
def test_a_removed_line(log: Path, index: int) -> None:
    change(log, lambda lines: lines.pop(index))
    (broken,) = verify([log]).breaks
    assert broken.line == index + 1
    assert "missing" in broken.what


def test_swapped_lines(log: Path) -> None:
    def swap(lines: list[bytes]) -> None:
        lines[4], lines[5] = lines[5], lines[4]

    change(log, swap)
    found = verify([log])
    assert [broken.line for broken in found.breaks] == [5, 6, 7]
    assert "missing" in found.breaks[0].what
    assert "swapped" in found.breaks[1].what


def test_a_repeated_line(log: Path) -> None:
    change(log, lambda lines: lines.insert(4, lines[3]))
    assert verify([log]).breaks[0].line == 5


def test_an_inserted_line(log: Path) -> None:
    change(log, lambda lines: lines.insert(4, b'{"kind":"decision"}\n'))
    found = verify([log])
    assert [broken.line for broken in found.breaks] == [5, 6]
    assert "no line of a log" in found.breaks[0].what


@pytest.mark.parametrize("line", [b"3\n", b"\n", b"[" * 5000 + b"\n", b"\xff\n", b"null\n"])
def test_what_is_no_line(log: Path, line: bytes) -> None:
    change(log, lambda lines: lines.insert(4, line))
    assert verify([log]).breaks[0].line == 5


def test_a_truncated_end_shows_with_an_anchor_only(log: Path) -> None:
    anchor = verify([log]).head
    assert verify([log], anchor=anchor).after_anchor == 0
    change(log, lambda lines: lines.pop())
    assert verify([log]).whole
    found = verify([log], anchor=anchor)
    (broken,) = found.breaks
    assert (broken.line, broken.expected, broken.got) == (COUNT - 1, anchor, found.head)
    assert found.after_anchor is None


def test_an_anchor_of_before(log: Path) -> None:
    anchor = digest(log.read_bytes().splitlines()[3])
    assert verify([log], anchor=anchor).after_anchor == COUNT - 4
    assert verify([log], anchor=START).after_anchor == COUNT


def test_a_log_that_was_written_anew(log: Path, tmp_path: Path) -> None:
    anchor = digest(log.read_bytes().splitlines()[3])
    with AuditLog(tmp_path / "new") as writer:
        for step in range(COUNT):
            writer.decision(verdict(step=step))
    assert verify([tmp_path / "new"]).whole
    assert not verify([tmp_path / "new"], anchor=anchor).whole


def test_an_emptied_log(log: Path) -> None:
    anchor = verify([log]).head
    log.write_bytes(b"")
    assert verify([log]).whole
    assert not verify([log], anchor=anchor).whole


def test_the_files_of_a_rotation(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = verify([parts])
    assert found.whole
    assert len(found.files) > 3
    pattern = sorted(parts.parent.glob(parts.name + "*"))  # as a shell would give them
    assert verify(pattern) == found
    assert verify(pattern[::-1]) == found
    monkeypatch.chdir(parts.parent)
    assert verify([parts.name]).files[-1] == parts.name


def test_a_removed_file_of_a_rotation(parts: Path) -> None:
    files = verify([parts]).files
    Path(files[1]).unlink()
    (broken,) = verify([parts]).breaks
    assert (broken.file, broken.line) == (files[2], 1)
    assert "missing" in broken.what


def test_the_first_file_put_away(parts: Path) -> None:
    files = verify([parts]).files
    away = verify([files[0]])
    Path(files[0]).unlink()
    (broken,) = verify([parts]).breaks
    assert (broken.file, broken.line, broken.expected) == (files[1], 1, START)
    assert verify([parts], after=away.head).whole
    assert not verify([parts], after="f" * 64).whole


def test_the_newest_file_removed_shows_with_an_anchor_only(parts: Path) -> None:
    anchor = verify([parts]).head
    parts.unlink()
    assert verify([parts]).whole
    assert not verify([parts], anchor=anchor).whole


def test_swapped_files(parts: Path) -> None:
    files = [Path(name) for name in verify([parts]).files]
    one, two = files[0].read_bytes(), files[1].read_bytes()
    files[0].write_bytes(two)
    files[1].write_bytes(one)
    assert not verify([parts]).whole


def test_a_part_of_a_line_in_the_middle(log: Path) -> None:
    change(log, lambda lines: lines.insert(4, lines[4][:20] + b"\n"))
    found = verify([log])
    assert found.breaks[0].line == 5
    assert found.torn == ()


def test_the_lines_of_a_hidden_decision_are_missed(log: Path) -> None:
    """A line that is torn on purpose, without the note that a writer would have made."""
    change(log, lambda lines: lines.__setitem__(4, lines[4][:20] + b"\n"))
    assert verify([log]).breaks[0].line == 5


@pytest.mark.parametrize(("name", "text"), [("anchor", "abc"), ("after", "G" * 64)])
def test_hashes_that_are_none(log: Path, name: str, text: str) -> None:
    with pytest.raises(AuditError, match=name):
        verify([log], **{name: text})


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="No such file"):
        verify([tmp_path / "none"])
    os.mkfifo(tmp_path / "pipe")
    for name in ("", "pipe"):
        with pytest.raises(AuditError):
            verify([tmp_path / name])
