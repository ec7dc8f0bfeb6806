"""A file that remembers what was read of records, a line each, so that a long run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from stepguard.errors import TrajectoryError
from stepguard.train.records import Record

AT_ONCE = 16  # records that share forward passes
_BEGIN = '{"guard": '  # of every line

Progress = Callable[[int, int], None]
_T = TypeVar("_T")


class Kept(Generic[_T]):
    """Values of records. what: how a message calls them. key: what they depend on; lines with
    another key are left alone.

    pack: a value as a JSON object with the record's `sha256`; unpack: from such an object, raising
    ValueError, KeyError or TypeError.
    """

    def __init__(
        self,
        what: str,
        path: Path | None,
        key: Mapping[str, str],
        pack: Callable[[_T], dict[str, Any]],
        unpack: Callable[[dict[str, Any]], _T],
    ) -> None:
        self._what, self._path, self._key = what, path, dict(key)
        self._pack, self._unpack = pack, unpack

    def all_of(
        self,
        records: Sequence[Record],
        read: Callable[[Sequence[Record]], Sequence[_T]],
        progress: Progress | None = None,
    ) -> list[_T]:
        """The values of all records, in their order; what is not in the file is read.

        progress: called with records done and to do.

        Raises:
            TrajectoryError: the file is of another kind.
        """
        found = dict(self._lines())
        missing = [record for record in records if record.sha256 not in found]
        for begin in range(0, len(missing), AT_ONCE):
            if progress is not None:
                progress(len(records) - len(missing) + begin, len(records))
            part = missing[begin : begin + AT_ONCE]
            new = read(part)
            self._append(new)
            found |= {record.sha256: value for record, value in zip(part, new, strict=True)}
        if progress is not None:
            progress(len(records), len(records))
        return [found[record.sha256] for record in records]

    def _append(self, new: Sequence[_T]) -> None:
        if self._path is None:
            return
        path = self._path
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write("" if whole else "\n")  # behind a line that was cut off
            for value in new:
                file.write(json.dumps({"guard": self._key, **self._pack(value)}) + "\n")

    def _lines(self) -> Iterator[tuple[str, _T]]:
        if self._path is None or not self._path.exists():
            return
        lines = self._path.read_text(encoding="utf-8", errors="replace").split("\n")
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                value = json.loads(line)
                if value["guard"] != self._key:
                    continue
                name, unpacked = value["sha256"], self._unpack(value)
            except (ValueError, KeyError, TypeError) as error:
                if number >= len(lines) - 1 or _is_cut(line):
                    continue  # the line that was being written when a run was cut off
                raise TrajectoryError(
                    f"{self._path}: line {number}",
                    expected=f"{self._what} of an earlier run",
                    got=str(error),
                    fix="Give another file; this one is left as it is.",
                ) from error
            yield name, unpacked


def _is_cut(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return line.startswith(_BEGIN) or _BEGIN.startswith(line)
    return False
