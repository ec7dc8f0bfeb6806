"""The State of a prompt's constant part, kept in the user's cache: the next start reads nothing.

It only saves time. A file is trusted because it and its folder belong to the user and to nobody
else, and because its own hash fits; whatever is wrong with it, the prefix is read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from stepguard._version import __version__
from stepguard.private_files import read_private, write_private
from stepguard.runtime import Engine, State, core_identity

_log = logging.getLogger("stepguard")
_MAGIC = b"stepguard prefix 1\n"
_HEAD = len(_MAGIC) + 32
_MOST_FILES = 8
_MOST_BYTES = 1 << 31


@dataclass(frozen=True)
class PrefixKey:
    """All on which the bits of a prefix State depend."""

    model: str
    prefix: str
    """Hash of its token ids: templates, taxonomies and chats may differ where the files do not."""
    isa: str
    kv: str
    activations: str
    ort: str
    runtime: str = __version__
    core: str = core_identity()

    @property
    def name(self) -> str:
        """A file name."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest() + ".state"


@dataclass(frozen=True)
class PrefixStore:
    """One prefix of one guard in a folder, which is made (mode 0700) when there is something."""

    folder: Path
    key: PrefixKey
    length: int
    """Tokens of the prefix."""

    def load(self, engine: Engine) -> State | None:
        """The State, or None where there is none that can be trusted."""
        path = self.folder / self.key.name
        try:
            data = memoryview(read_private(path, _MOST_BYTES))
            body = data[_HEAD:]
            if data[:_HEAD] != _head(body):
                raise ValueError(f"{path}: its hash does not fit")
            state = engine.restore(bytes(body))
            if state.length != self.length:
                raise ValueError(f"{path}: expected {self.length} tokens, got {state.length}")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, MemoryError, RuntimeError) as error:  # the last: of a GPU
            _log.warning("the saved prefix is not used: %s", error)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the least recently used ones make room
        return state

    def save(self, engine: Engine, state: State) -> None:
        """Writes the State. Failures are logged, no more."""
        try:
            body = engine.save(state)
            write_private(self.folder / self.key.name, [_head(body), body])
            self._make_room()
        except (OSError, MemoryError, RuntimeError) as error:
            _log.debug("the prefix was not saved: %s", error)

    def _make_room(self) -> None:
        found = sorted(self.folder.glob("*.state"), key=lambda path: path.stat().st_mtime)
        for path in found[:-_MOST_FILES]:
            path.unlink(missing_ok=True)


def _head(body: bytes | memoryview) -> bytes:
    return _MAGIC + hashlib.sha256(body).digest()
