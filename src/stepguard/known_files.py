"""The user's list of big files that were hashed before: identity -> sha256.

It only saves time. An entry is trusted because the folder belongs to the user and to nobody else;
whatever is wrong with the list, the files are hashed again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from pathlib import Path

_log = logging.getLogger("stepguard")
_MOST = 256
_NAME = "verified.json"


def cache_folder() -> Path | None:
    """The user's cache folder of stepguard; it need not exist. None for a user without a home."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        return base / "stepguard"
    try:
        return Path.home() / ".cache" / "stepguard"
    except RuntimeError:
        return None


class KnownFiles:
    """The list in a folder, which is made (mode 0700) when there is something to write."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def sha256(self, identity: str) -> str | None:
        """What the file of this identity hashed to, or None."""
        return self._read().get(identity)

    def add(self, identity: str, sha256: str) -> None:
        """Remembers a file; the oldest entries make room. Failures are logged and forgotten."""
        if self.folder is None:
            return
        known = self._read()
        known.pop(identity, None)
        known[identity] = sha256
        try:
            _write(self.folder, dict(list(known.items())[-_MOST:]))
        except OSError as error:
            _log.debug("the list of verified files was not written: %s", error)

    def _read(self) -> dict[str, str]:
        if self.folder is None:
            return {}
        try:
            private = _is_private(self.folder) and _is_private(self.folder / _NAME)
            value = json.loads((self.folder / _NAME).read_bytes()) if private else {}
        except (OSError, ValueError, RecursionError) as error:
            _log.debug("no list of verified files: %s", error)
            return {}
        if not isinstance(value, dict):
            return {}
        return {key: item for key, item in value.items() if isinstance(item, str)}


def _is_private(path: Path) -> bool:
    """True when nobody but the user can have written there."""
    found = path.stat()
    return found.st_uid == os.getuid() and not found.st_mode & 0o022


def _write(folder: Path, known: dict[str, str]) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{_NAME}.", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(known, file, indent=1)
        Path(name).replace(folder / _NAME)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
