"""The output folder: written beside its place under another name and moved there when complete."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stepguard.errors import ExportError
from stepguard.manifest import FILE, FORMAT

_EXCHANGE, _HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux
_SPARE_BYTES = 16 << 20  # graph, tokenizer, manifest, licences


def is_model(folder: Path) -> bool:
    """Whether a folder is a model directory, of whatever version."""
    try:
        manifest = json.loads((folder / FILE).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


@contextmanager
def new_directory(
    out: Path, overwrite: bool, replaces: Callable[[Path], bool] = is_model
) -> Iterator[Path]:
    """Yields a fresh folder beside `out` that takes its place when the block ends without error.

    Raises ExportError when `out` exists and is not empty, unless `overwrite` and it is of the kind
    that `replaces` knows. An interrupted export leaves nothing under the name of `out`; its partial
    folder is removed.
    """
    out = out.absolute()
    check_free(out, overwrite, replaces)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    try:
        work.chmod(0o777 & ~_umask())
        yield work
        _put(work, out, overwrite, replaces)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_apart(out: Path, sources: Iterable[Path]) -> None:
    """Raises ExportError when one of `sources` is the folder `out`, or lies in it."""
    for source in sources:
        for place in (source.absolute(), source.resolve()):
            if {out.absolute(), out.resolve()} & {place, *place.parents}:
                raise ExportError(
                    str(out),
                    expected="a folder apart from what is read",
                    got=f"the place of {source}",
                    fix="Choose another name; what is there would be lost",
                )


def check_free(out: Path, overwrite: bool, replaces: Callable[[Path], bool] = is_model) -> None:
    """Raises ExportError when `out` is a file, or a folder whose content may not be replaced."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ExportError(str(out), expected="a new folder", got="a file or a link")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not replaces(out):
        raise ExportError(
            str(out),
            expected="a new or empty folder",
            got="a folder with other files in it, which nothing replaces",
            fix="Choose another name, or remove that folder yourself",
        )
    if not overwrite:
        raise ExportError(
            str(out),
            expected="a new or empty folder",
            got="a folder with files in it",
            fix="Choose another name, or replace it with --overwrite",
        )


def check_space(folder: Path, needed: int) -> None:
    """Raises ExportError when the disk of `folder` cannot hold that many bytes more."""
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise ExportError(
            f"disk of {folder}",
            expected=f"{(needed + _SPARE_BYTES) / 1e9:.2f} GB free",
            got=f"{free / 1e9:.2f} GB",
            fix="Free some space or export to another disk",
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _put(work: Path, out: Path, overwrite: bool, replaces: Callable[[Path], bool]) -> None:
    check_free(out, overwrite, replaces)  # someone may have written there meanwhile
    if not out.exists() or not any(out.iterdir()):
        work.rename(out)  # replaces an empty folder
    else:
        _exchange(work, out)  # the old content is now in `work` and goes with it


def _exchange(a: Path, b: Path) -> None:
    """Swaps two names in one step, so that a reader finds the old or the new folder, never none."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None or rename(_HERE, os.fsencode(a), _HERE, os.fsencode(b), _EXCHANGE) != 0:
        # A file system without exchange: two renames, the first one undone when the second fails.
        old = Path(tempfile.mkdtemp(prefix=f".{b.name}.old-", dir=b.parent))
        b.rename(old)
        try:
            a.rename(b)
        except OSError:
            old.rename(b)
            raise
        old.rename(a)
