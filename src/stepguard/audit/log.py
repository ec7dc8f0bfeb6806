"""The log: appended to by one process, line by line, in files of a bounded size."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepguard.audit import entry
from stepguard.audit.chain import START, TORN, digest, encode
from stepguard.audit.entry import Outcome, Plain
from stepguard.audit.files import end_of, numbered, open_active, rotated, unusable
from stepguard.audit.lock import WriterLock
from stepguard.errors import AuditError, ForkedProcessError
from stepguard.prompt import Step
from stepguard.taxonomy import Diagnosis, Verdict


class AuditLog:
    """Appends one line per decision; any number of threads may.

    Every line goes out in one write to a file that is opened for appending, and carries the hash of
    the line before. A full file becomes NAME.000001 and so on; nothing is ever deleted. What a
    crash left of a line stays, and the line after it says so.

    Args:
        path: the file that is written; its folder must exist. It is of mode 0600.
        content: also write down what the step says, and the words of the verdict.
        most_bytes: size at which a file is full; a line is never cut.
        fsync: return only when the line is on the disk.

    Raises:
        AuditError: it cannot be opened, others could have read or written it, or it has another
            writer. Every method raises it where a line could not be written: what was not logged
            should not be allowed.
        ForkedProcessError: a method is called in a child of fork().
    """

    def __init__(
        self,
        path: str | Path,
        *,
        content: bool = False,
        most_bytes: int = 64 << 20,
        fsync: bool = False,
    ) -> None:
        if most_bytes < 1:
            raise ValueError(f"most_bytes: expected at least 1, got {most_bytes}")
        self._path = Path(path).absolute()
        self._content, self._most, self._fsync = content, most_bytes, fsync
        self._pid, self._mutex = os.getpid(), threading.Lock()
        self._handle, self._closed = -1, False
        self._writer: WriterLock | None = WriterLock(self._path)
        try:
            self._open(new=False)
            self._settle()
            self._mend()
        except OSError as error:
            self._release()
            raise unusable(self._path, error) from error
        except BaseException:
            self._release()
            raise

    @property
    def path(self) -> Path:
        """The file that is written."""
        return self._path

    @property
    def head(self) -> str:
        """The hash of the last line: kept in another place, it is an anchor."""
        with self._mutex:
            return self._prev

    def decision(
        self,
        verdict: Verdict,
        *,
        step: Step | None = None,
        session: str = "",
        outcome: Outcome | None = None,
        timings_ms: Mapping[str, float] | None = None,
        about: Mapping[str, Plain] | None = None,
    ) -> str:
        """Logs a decision, allowed ones too.

        Args:
            verdict: what the guard said. Its diagnosis is logged where it is done already.
            step: the step that was judged; its hash is logged, its text only with `content`.
            session: whose trajectory it is.
            outcome: what the policy made of it.
            timings_ms: further timings, beside that of the verdict.
            about: facts of the caller, logged as they are, content or not.

        Returns:
            The hash of the line.
        """
        body = entry.decision(
            verdict,
            step=step,
            session=session,
            outcome=outcome,
            timings_ms=timings_ms or {},
            about=about or {},
            content=self._content,
        )
        return self._append(body)

    def diagnosis(self, diagnosis: Diagnosis, *, session: str = "") -> str:
        """Logs a diagnosis that was not done when its decision was; the hash of the line."""
        return self._append(entry.later(diagnosis, session=session))

    def close(self) -> None:
        """Lets another process write. May be called twice."""
        with self._mutex:
            self._release()

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _release(self) -> None:
        self._closed = True
        self._let_go()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _let_go(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def _append(self, body: Mapping[str, Any]) -> str:
        if os.getpid() != self._pid:
            raise ForkedProcessError(
                str(self._path),
                expected="the process that opened the log",
                got="a child made by fork()",
                fix="Open a log of its own in the child.",
            )
        with self._mutex:
            if self._closed:
                raise AuditError(str(self._path), expected="an open log", got="a closed one")
            try:
                self._mend()
                return self._line(body)
            except OSError as error:
                raise unusable(self._path, error) from error

    # --- below here the mutex is held, or nobody else knows the log yet ---

    def _open(self, *, new: bool) -> None:
        self._let_go()
        self._handle = open_active(self._path, new=new)
        found = os.fstat(self._handle)
        self._size, self._file = found.st_size, (found.st_dev, found.st_ino)

    def _settle(self) -> None:
        """Finds the end of the chain in the files."""
        full = rotated(self._path)
        before = full[-1][1] if full else None
        active = end_of(self._path)
        last = active if active.any or before is None else end_of(before)
        link = last.rest_link if last.unfinished else last.link
        self._prev = last.rest if last.unfinished else last.last or START
        # A whole line that is none of ours was cut off as well, and finished by somebody.
        self._torn = last.unfinished > 0 or (last.any and link is None)
        self._unfinished = active.unfinished
        if link is not None:
            self._seq = link.seq + 1
        elif last.seq is not None:
            self._seq = last.seq
        else:
            self._seq = (end_of(before).seq or 0) if before is not None else 0

    def _mend(self) -> None:
        """Ends what was left of a line, and says so; follows a file that was moved away."""
        if not self._is_there():
            self._open(new=True)
            self._unfinished = 0
            self._line(entry.note("moved"))
        if self._torn:
            unfinished = self._unfinished
            self._line(entry.note(TORN, bytes=unfinished), b"\n" if unfinished else b"")
            self._torn, self._unfinished = False, 0

    def _is_there(self) -> bool:
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return False
        return self._handle >= 0 and (found.st_dev, found.st_ino) == self._file

    def _line(self, body: Mapping[str, Any], before: bytes = b"") -> str:
        try:
            line = encode(self._seq, self._prev, body)
        except (TypeError, ValueError) as error:
            raise AuditError("a line of the log", expected="JSON", got=str(error)) from error
        data = before + line + b"\n"
        if self._size and self._size + len(data) > self._most and not before:
            self._rotate()
        self._write(data)
        self._seq, self._prev = self._seq + 1, digest(line)
        return self._prev

    def _write(self, data: bytes) -> None:
        try:
            written = os.write(self._handle, data)
            self._size += written
            if written < len(data):
                got = f"{written} of the {len(data)} bytes of a line"
                raise AuditError(str(self._path), expected="room for a line", got=got)
            if self._fsync:
                os.fsync(self._handle)
        except BaseException:
            self._settle()  # whatever became of it: the next line goes on from there, and says so
            raise

    def _rotate(self) -> None:
        os.fsync(self._handle)
        number = max((number for number, _ in rotated(self._path)), default=0) + 1
        self._path.rename(numbered(self._path, number))
        self._open(new=True)
        if self._fsync:
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
