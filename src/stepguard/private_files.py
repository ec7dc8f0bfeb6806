"""Files in the user's cache: nobody else may have written them, and none is ever half written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def cache_folder() -> Path | None:
    """The user's cache folder of stepguard; it need not exist. None for a user without a home."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        return base / "stepguard"
    try:
        return Path.home() / ".cache" / "stepguard"
    except RuntimeError:
        return None


def read_private(path: Path, most: int) -> bytes:
    """The bytes of a file of at most `most` bytes.

    Raises:
        FileNotFoundError: it is not there. OSError: it cannot be read.
        ValueError: it or its folder could have been written by somebody else, or it is too long.
    """
    _require_private(path.parent.stat(), path.parent)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        found = os.fstat(file.fileno())
        _require_private(found, path)
        if found.st_size > most:
            raise ValueError(f"{path}: expected at most {most} bytes, got {found.st_size}")
        return file.read(most)


def write_private(path: Path, parts: Iterable[bytes]) -> None:
    """Writes a file (mode 0600) beside its place and moves it there; makes its folders (0700).

    Raises OSError.
    """
    for folder in reversed(path.parents):  # one by one: mkdir(parents=True) gives them other modes
        folder.mkdir(mode=0o700, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(parts)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _require_private(found: os.stat_result, path: Path) -> None:
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise ValueError(f"{path}: expected a file that only its user can write")
