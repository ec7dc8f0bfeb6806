"""The files of a log: NAME, which is written, and NAME.000001 and so on, which are full."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stepguard.audit.chain import Link, digest, parse
from stepguard.errors import AuditError

_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # no link, no pipe that waits for a writer
PRIVATE = 0o600


@dataclass(frozen=True)
class End:
    """How a file ends.

    last: hash of its last whole line, None where it has none. link: what that line says, None for
    one that is none of ours. seq: what follows the last number in it. unfinished: how many bytes
    stand after the last line break; rest, rest_link: the hash and the link that they would have.
    """

    last: str | None = None
    link: Link | None = None
    seq: int | None = None
    unfinished: int = 0
    rest: str = ""
    rest_link: Link | None = None

    @property
    def any(self) -> bool:
        """Whether there is a line, or a part of one."""
        return self.last is not None or self.unfinished > 0


def rotated(path: Path) -> list[tuple[int, Path]]:
    """The full files of a log, by number."""
    name = re.compile(re.escape(path.name) + r"\.([0-9]{6,})")
    found = ((name.fullmatch(entry.name), entry) for entry in path.parent.iterdir())
    return sorted((int(match[1]), entry) for match, entry in found if match)


def numbered(path: Path, number: int) -> Path:
    """The name that a full file gets."""
    return path.with_name(f"{path.name}.{number:06}")


def open_active(path: Path, *, new: bool) -> int:
    """A descriptor for appending. new: it must not be there yet.

    Raises AuditError where it is no regular file of its own user that nobody else can read.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | _SAFE | (os.O_EXCL if new else 0)
    try:
        handle = os.open(path, flags, PRIVATE)
    except OSError as error:
        raise unusable(path, error) from error
    found = os.fstat(handle)
    mode, regular = stat.S_IMODE(found.st_mode), stat.S_ISREG(found.st_mode)
    if not regular or found.st_uid != os.geteuid() or mode & 0o177:
        os.close(handle)
        raise AuditError(
            str(path),
            expected="a regular file of this user, of mode 0600",
            got=f"mode {mode:04o} of user {found.st_uid}" if regular else "another kind of file",
            fix=f"Type: chmod 600 {path.name}, if nobody else has written it."
            if regular
            else "Name a file.",
        )
    return handle


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """A regular file, open for reading. Raises AuditError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise unusable(path, error) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise AuditError(str(path), expected="a regular file", got="another kind of file")
    with os.fdopen(handle, "rb") as file:
        try:
            yield file
        except OSError as error:
            raise unusable(path, error) from error


def end_of(path: Path) -> End:
    """Reads a file to its end. Raises AuditError."""
    found = End()
    with reading(path) as file:
        for line in file:
            if not line.endswith(b"\n"):
                return End(found.last, found.link, found.seq, len(line), digest(line), parse(line))
            link = parse(line[:-1])
            seq = found.seq if link is None else link.seq + 1
            found = End(digest(line[:-1]), link, seq)
    return found


def unusable(path: Path, error: OSError) -> AuditError:
    """The error of the system, with its place."""
    return AuditError(str(path), expected="a usable file", got=error.strerror or str(error))
