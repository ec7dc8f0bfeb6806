"""What a process holds in memory, as Linux tells it: mappings of /proc/self/smaps, and pages."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ \d+ *(.*)")
_PRESENT = np.uint64(1 << 63)

Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Mapping:
    """One mapping: addresses, the place in its file, resident bytes and the kernel's flags.

    `path` is "" for memory that is no file's; `anonymous` are the bytes that are the process's own,
    copies of a private mapping's pages included.
    """

    begin: int
    end: int
    offset: int
    path: str
    resident: int
    anonymous: int
    flags: frozenset[str]


def read_smaps(path: Path = Path("/proc/self/smaps")) -> list[Mapping]:
    """All mappings of this process. OSError where the system does not tell."""
    found: list[Mapping] = []
    head: re.Match[str] | None = None
    fields: dict[str, str] = {}
    # Names of files may hold what else ends a line; the kernel escapes only the line feed.
    text = path.read_bytes().decode("utf-8", "surrogateescape").removesuffix("\n")
    for line in [*text.split("\n"), ""]:
        at_header = _HEADER.fullmatch(line)
        if (at_header or not line) and head is not None:
            found.append(_mapping(head, fields))
        if at_header:
            head, fields = at_header, {}
        else:
            key, _, value = line.partition(":")
            fields[key] = value
    return found


def _mapping(head: re.Match[str], fields: dict[str, str]) -> Mapping:
    begin, end, offset = (int(head[i], 16) for i in (1, 2, 3))
    resident, anonymous = (int(fields[key].split()[0]) << 10 for key in ("Rss", "Anonymous"))
    path = head[4] if head[4].startswith("/") else ""
    flags = frozenset(fields["VmFlags"].split())
    return Mapping(begin, end, offset, path, resident, anonymous, flags)


def resident_in(mappings: Iterable[Mapping], ranges: Ranges) -> int:
    """Resident bytes of mappings of one file that lie in some [begin, end) byte ranges of it.

    A page counts where its first byte lies.
    """
    total = 0
    with Path("/proc/self/pagemap").open("rb", buffering=0) as pages:
        for mapping in mappings:
            for begin, end in ranges:
                first = max(begin, mapping.offset) - mapping.offset
                last = min(end, mapping.offset + mapping.end - mapping.begin) - mapping.offset
                if first < last:
                    total += _resident(pages.fileno(), mapping.begin + first, mapping.begin + last)
    return total


def _resident(pagemap: int, begin: int, end: int) -> int:
    first, last = -(-begin // mmap.PAGESIZE), -(-end // mmap.PAGESIZE)
    entries = np.fromfile(
        Path(f"/proc/self/fd/{pagemap}"), np.uint64, max(last - first, 0), offset=8 * first
    )
    return int((entries & _PRESENT != 0).sum()) * mmap.PAGESIZE


def resident(path: Path = Path("/proc/self/status")) -> int:
    """Bytes that this process has resident now."""
    (line,) = re.findall(r"^VmRSS:\s*(\d+) kB$", path.read_text(), re.MULTILINE)
    return int(line) << 10


def peak_resident(path: Path = Path("/proc/self/status")) -> int:
    """The most bytes that this process had resident since its program began.

    getrusage says more after an exec: it counts what the program before held too.
    """
    (line,) = re.findall(r"^VmHWM:\s*(\d+) kB$", path.read_text(), re.MULTILINE)
    return int(line) << 10
