"""Whether the lines of a log still are a chain."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepguard.audit.chain import START, Link, digest, is_hash, parse
from stepguard.audit.files import reading, rotated
from stepguard.errors import AuditError

_FULL = re.compile(r"(.+)\.([0-9]{6,})")


@dataclass(frozen=True)
class Break:
    """A place where the chain does not hold. file, line (from 1): where it shows; what: in words;
    expected, got: the hashes, or numbers, that differ."""

    file: str
    line: int
    what: str
    expected: str
    got: str


@dataclass(frozen=True)
class Checked:
    """What was found in the files of a log."""

    files: tuple[str, ...]
    lines: int
    breaks: tuple[Break, ...]
    torn: tuple[str, ...]
    """Where a crash left a part of a line, and the next line says so."""
    unfinished: int
    """Bytes at the very end that are no line yet: a crash, or a writer at work."""
    head: str
    """Hash of the last whole line: kept in another place, it is an anchor."""
    after_anchor: int | None
    """How many lines follow the anchor; None where none was given, or it was not found."""

    @property
    def whole(self) -> bool:
        """True when nothing is broken."""
        return not self.breaks

    def to_dict(self) -> dict[str, Any]:
        """The fields and `whole`, ready for JSON."""
        return {"whole": self.whole, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class _Line:
    file: str
    number: int
    hash: str
    link: Link | None
    size: int
    whole: bool


def verify(
    files: Iterable[str | Path], *, anchor: str | None = None, after: str = START
) -> Checked:
    """Reads the files of a log; with NAME also NAME.000001 and so on, in their order.

    Args:
        files: of one log.
        anchor: a hash that the log had as its `head` once, from another place.
        after: the hash of the line before the first, where older files were put away.

    Raises:
        AuditError: a file cannot be read, or a hash is none.
    """
    for name, text in (("anchor", anchor), ("after", after)):
        if text is not None and not is_hash(text):
            raise AuditError(name, expected="a sha256 in 64 small hexadecimal digits", got=text)
    names = _all_files(files)
    walk = _Walk(after, anchor)
    line: _Line | None = None
    for following in _lines(names):
        if line is not None:
            walk.step(line, following)
        line = following
    unfinished = 0 if line is None or line.whole else line.size
    if line is not None and line.whole:
        walk.step(line, None)
    return walk.result(names, unfinished)


class _Walk:
    """Goes from line to line; after a break it goes on from the line that is there."""

    def __init__(self, after: str, anchor: str | None) -> None:
        self._prev, self._anchor = after, anchor
        self._seq: int | None = 0 if after == START else None
        self._count = 0
        self._anchored = 0 if anchor == after else None
        self._breaks: list[Break] = []
        self._torn: list[str] = []
        self._last: _Line | None = None

    def step(self, line: _Line, following: _Line | None) -> None:
        """Takes one line; the one that follows may say that it was cut off."""
        torn = following is not None and following.link is not None and following.link.torn
        if torn:
            self._torn.append(f"{line.file}: line {line.number}")
        if line.link is not None:
            self._check(line, line.link)
            self._seq = line.link.seq + 1
        elif not torn:
            self._say(line, "it is no line of a log", "a JSON object with seq and prev", "none")
        self._prev, self._last, self._count = line.hash, line, self._count + 1
        if line.hash == self._anchor:
            self._anchored = self._count

    def result(self, names: Sequence[Path], unfinished: int) -> Checked:
        """What was found."""
        if self._anchor is not None and self._anchored is None:
            last = self._last or _Line(str(names[-1]), 0, self._prev, None, 0, True)
            what = "no line has the hash of the anchor: lines were removed or changed before it"
            self._say(last, what, self._anchor, self._prev)
        return Checked(
            files=tuple(map(str, names)),
            lines=self._count,
            breaks=tuple(self._breaks),
            torn=tuple(self._torn),
            unfinished=unfinished,
            head=self._prev,
            after_anchor=None if self._anchored is None else self._count - self._anchored,
        )

    def _check(self, line: _Line, link: Link) -> None:
        expected = self._seq
        if link.prev != self._prev:
            self._say(line, self._reason(link), self._prev, link.prev)
        elif expected is not None and link.seq != expected:
            what = "its number does not follow that of the line before"
            self._say(line, what, str(expected), str(link.seq))

    def _reason(self, link: Link) -> str:
        if self._last is None:
            return "it is not the first line: lines or files before it are missing"
        if self._seq is None or link.seq == self._seq:
            return "the line before it was changed, or this one was"
        if link.seq > self._seq:
            return f"{link.seq - self._seq} lines before it are missing"
        return "it stands too late: lines were swapped or repeated"

    def _say(self, line: _Line, what: str, expected: str, got: str) -> None:
        self._breaks.append(Break(line.file, line.number, what, expected, got))


def _lines(names: Sequence[Path]) -> Iterator[_Line]:
    for name in names:
        with reading(name) as file:
            for number, data in enumerate(file, start=1):
                whole = data.endswith(b"\n")
                line = data[:-1] if whole else data
                yield _Line(str(name), number, digest(line), parse(line), len(line), whole)


def _all_files(files: Iterable[str | Path]) -> list[Path]:
    """Every file once: of each log the full ones by number, then the one that is written."""
    logs: dict[Path, dict[float, Path]] = {}
    for name in map(Path, files):
        if name.suffix == ".lock":  # a pattern of the shell finds it too
            continue
        match = _FULL.fullmatch(name.name)
        log = name.with_name(match[1]) if match else name
        parts = logs.setdefault(log, {})
        if match:
            parts[int(match[2])] = name
            continue
        full = rotated(name) if name.parent.is_dir() else []
        parts.update(full)
        if name.exists() or not full:
            parts[math.inf] = name
    return [parts[number] for parts in logs.values() for number in sorted(parts)]
