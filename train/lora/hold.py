"""One sitting, or one choice of a checkpoint, at a time on a run's folder."""

from __future__ import annotations

from pathlib import Path

from stepguard.audit.lock import WriterLock
from stepguard.errors import AuditError, TrainingError


def hold(run: Path) -> WriterLock:
    """The folder, until the lock is closed or the process ends, by the file RUN/.run.lock.

    Raises:
        TrainingError: another sitting or choice has it, in this process or in another one.
    """
    try:
        return WriterLock(run / ".run")
    except AuditError as error:
        if not isinstance(error.__cause__, BlockingIOError):
            raise TrainingError(error.where, expected=error.expected, got=error.got) from error
        raise TrainingError(
            str(run),
            expected="no other sitting or choice on this folder",
            got=error.got,
            fix="Wait until it ends, or give another folder.",
        ) from error
