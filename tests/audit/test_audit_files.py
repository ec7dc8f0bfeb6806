"""The files of a log: nobody else can read them, and nothing but a file is one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from stepguard.audit import AuditLog, verify
from stepguard.errors import AuditError
from tests.audit.logged import lines
from tests.audit.verdicts import STEP, verdict


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


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="No such file"):
        AuditLog(tmp_path / "no" / "log")


def test_nobody_is_told_to_close_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(AuditError, match="another kind of file") as found:
        AuditLog(tmp_path / "pipe")
    assert "chmod" not in found.value.fix
