"""The output folder appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stepguard.errors import ExportError
from stepguard.export import directory
from stepguard.export.directory import check_apart, check_space, new_directory

MODEL = '{"format": "stepguard-model"}'


def write(out: Path, text: str, overwrite: bool = False) -> None:
    with new_directory(out, overwrite) as work:
        (work / "file").write_text(text)
        (work / "manifest.json").write_text(MODEL)


def test_it_appears_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with new_directory(out, False) as work:
        assert work.parent == out.parent
        assert not out.exists()
        (work / "file").write_text("x")
    assert (out / "file").read_text() == "x"
    assert list(out.parent.iterdir()) == [out]
    assert out.stat().st_mode & 0o777 == 0o777 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_export_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), new_directory(tmp_path / "out", False) as work:
        (work / "file").write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_overwrite_leaves_the_old(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    with pytest.raises(KeyboardInterrupt), new_directory(tmp_path / "out", True) as work:
        (work / "file").write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "out" / "file").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_with_content_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    with pytest.raises(ExportError, match="--overwrite"):
        write(tmp_path / "out", "new")
    assert (tmp_path / "out" / "file").read_text() == "old"


def test_content_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ExportError, match="files in it"), new_directory(out, False):
        out.mkdir()
        (out / "file").write_text("other")
    assert (out / "file").read_text() == "other"


@pytest.mark.parametrize("manifest", [None, "{", "[]", '{"format": "another"}', "\xff"])
def test_other_folders_are_never_replaced(tmp_path: Path, manifest: str | None) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "file").write_text("precious")
    if manifest is not None:
        (out / "manifest.json").write_text(manifest, encoding="latin-1")
    with pytest.raises(ExportError, match=r"which nothing replaces.*remove that folder yourself"):
        write(out, "new", overwrite=True)
    assert (out / "file").read_text() == "precious"


def test_a_kind_of_folder_of_ones_own(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("old")
    with new_directory(out, True, lambda folder: (folder / "mine").exists()) as work:
        (work / "mine").write_text("new")
    assert (out / "mine").read_text() == "new"


def test_a_folder_that_holds_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/deep/out").symlink_to(tmp_path / "elsewhere")
    check_apart(tmp_path / "new", [tmp_path / "real", tmp_path / "link/deep"])
    check_apart(tmp_path / "real/deep/new", [tmp_path / "real", tmp_path / "link/deep/out"])
    for out, source in (
        ("real", "real"),
        ("real", "real/deep"),
        ("link", "real/deep/x.gguf"),
        ("real", "link"),
        ("elsewhere", "real/deep/out"),
        ("real", "real/deep/out/m.gguf"),
    ):
        with pytest.raises(ExportError, match="a folder apart from what is read"):
            check_apart(tmp_path / out, [tmp_path / "other", tmp_path / source])


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "x")
    assert (tmp_path / "out" / "file").read_text() == "x"


@pytest.mark.parametrize("exchange", [True, False])
def test_overwrite_swaps(tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchange:
        monkeypatch.setattr(directory.ctypes, "CDLL", lambda *_, **__: object())
    write(tmp_path / "out", "old")
    (tmp_path / "out" / "other").write_text("old")
    write(tmp_path / "out", "new", overwrite=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"file", "manifest.json"}
    assert (tmp_path / "out" / "file").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("kind", ["file", "link"])
def test_files_and_links_are_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "target").mkdir()
    out = tmp_path / "out"
    out.write_text("x") if kind == "file" else out.symlink_to("target")
    for overwrite in (True, False):
        with pytest.raises(ExportError, match="a file or a link"):
            write(out, "x", overwrite)


def test_too_little_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    def usage(_: Any) -> Usage:
        return Usage(10**9)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    check_space(tmp_path, 9 * 10**8)
    with pytest.raises(ExportError, match=r"2\.02 GB free, got 1\.00 GB"):
        check_space(tmp_path, 2 * 10**9)
