"""One writer for each log."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from stepguard.audit.files import PRIVATE, unusable
from stepguard.errors import AuditError


class WriterLock:
    """Held from construction to `close`, by the file NAME.lock. Its end is that of the process,
    too.

    Raises AuditError where another writer has it, in this process or in another one.
    """

    def __init__(self, log: Path) -> None:
        path = log.with_name(log.name + ".lock")
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self._handle = os.open(path, flags, PRIVATE)
        except OSError as error:
            raise unusable(path, error) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            owner = _owner(self._handle)
            os.close(self._handle)
            raise AuditError(
                str(log),
                expected="no other writer of this log",
                got=owner,
                fix="Give every process a log of its own.",
            ) from error
        except OSError as error:
            os.close(self._handle)
            raise unusable(path, error) from error

    def close(self) -> None:
        """Lets the next writer in."""
        os.close(self._handle)


def _owner(handle: int) -> str:
    text = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
    if text == str(os.getpid()):
        return "one in this process"
    return f"process {text}" if text.isdigit() else "another process"
