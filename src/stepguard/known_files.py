"""The user's list of big files that were hashed before: identity -> sha256.

It only saves time. An entry is trusted because the folder belongs to the user and to nobody else;
whatever is wrong with the list, the files are hashed again.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from stepguard.private_files import read_private, write_private

_log = logging.getLogger("stepguard")
_MOST = 256
_MOST_BYTES = 1 << 20
_NAME = "verified.json"


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
            text = json.dumps(dict(list(known.items())[-_MOST:]), indent=1)
            write_private(self.folder / _NAME, [text.encode()])
        except OSError as error:
            _log.debug("the list of verified files was not written: %s", error)

    def _read(self) -> dict[str, str]:
        if self.folder is None:
            return {}
        try:
            value = json.loads(read_private(self.folder / _NAME, _MOST_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            _log.debug("no list of verified files: %s", error)
            return {}
        if not isinstance(value, dict):
            return {}
        return {key: item for key, item in value.items() if isinstance(item, str)}
