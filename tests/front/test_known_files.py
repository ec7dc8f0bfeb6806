"""The list of verified files saves time; it is never a reason to trust or to fail."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stepguard.known_files import KnownFiles
from stepguard.private_files import cache_folder

NAME = "verified.json"


def test_it_remembers(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "stepguard"
    known = KnownFiles(folder)
    assert known.sha256("1:2") is None
    known.add("1:2", "aa")
    known.add("3:4", "bb")
    assert KnownFiles(folder).sha256("1:2") == "aa"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / NAME).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == [NAME]


def test_the_oldest_make_room(tmp_path: Path) -> None:
    known = KnownFiles(tmp_path)
    (tmp_path / NAME).write_text(json.dumps({str(n): "x" for n in range(256)}))
    (tmp_path / NAME).chmod(0o600)
    known.add("1", "again")
    known.add("new", "y")
    assert known.sha256("0") is None
    assert known.sha256("1") == "again"
    assert known.sha256("new") == "y"


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"a": 1}', "[" * 100_000])
def test_a_damaged_list_is_empty_and_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    (tmp_path / NAME).chmod(0o600)
    known = KnownFiles(tmp_path)
    assert known.sha256("a") is None
    known.add("a", "hash")
    assert known.sha256("a") == "hash"


@pytest.mark.parametrize("which", ["folder", "file"])
def test_what_others_can_write_is_not_trusted(tmp_path: Path, which: str) -> None:
    known = KnownFiles(tmp_path)
    known.add("a", "hash")
    (tmp_path if which == "folder" else tmp_path / NAME).chmod(0o777)
    assert known.sha256("a") is None


def test_folders_on_the_way_are_private_too(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        KnownFiles(tmp_path / "a" / "b").add("x", "hash")
    finally:
        os.umask(before)
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_place_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file / "below", None):
        known = KnownFiles(folder)
        known.add("a", "hash")
        assert known.sha256("a") is None


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "stepguard"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "stepguard"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert cache_folder() is None
