"""What Linux says about memory, read off a mapping whose pages were touched one by one."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stepguard.bench.smaps import Mapping, peak_resident, read_smaps, resident_in

PAGE = mmap.PAGESIZE
PAGES = 64

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/pagemap").exists(), reason="the system does not tell"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(bytes(PAGES * PAGE))
    return path


@pytest.fixture
def view(file: Path) -> Iterator[mmap.mmap]:
    """A private mapping of all but the file's first four pages."""
    with (
        file.open("rb") as stream,
        mmap.mmap(
            stream.fileno(),
            (PAGES - 4) * PAGE,
            flags=mmap.MAP_PRIVATE,
            prot=mmap.PROT_READ | mmap.PROT_WRITE,
            offset=4 * PAGE,
        ) as view,
    ):
        yield view


def mappings_of(file: Path) -> list[Mapping]:
    return [mapping for mapping in read_smaps() if mapping.path == str(file.resolve())]


def test_touched_pages_are_resident(file: Path, view: mmap.mmap) -> None:
    (before,) = mappings_of(file)
    assert (before.resident, before.anonymous, before.offset) == (0, 0, 4 * PAGE)
    assert before.end - before.begin == (PAGES - 4) * PAGE
    for page in (0, 1, 30):
        view[page * PAGE] = 1  # a copy of one page, whatever lies around it
    (after,) = mappings_of(file)
    assert (after.resident, after.anonymous) == (3 * PAGE, 3 * PAGE)


def test_ranges_of_the_file(file: Path, view: mmap.mmap) -> None:
    for page in (0, 1, 30):
        view[page * PAGE] = 1
    found = mappings_of(file)
    assert resident_in(found, [(0, PAGES * PAGE)]) == 3 * PAGE
    assert resident_in(found, [(4 * PAGE, 5 * PAGE)]) == PAGE
    assert resident_in(found, [(5 * PAGE, 34 * PAGE)]) == PAGE
    assert resident_in(found, [(4 * PAGE, 5 * PAGE), (34 * PAGE, 99 * PAGE)]) == 2 * PAGE
    assert resident_in(found, [(0, 4 * PAGE), (6 * PAGE, 34 * PAGE)]) == 0


def test_mappings_are_read_as_they_are_printed(tmp_path: Path) -> None:
    text = """\
7f00-8f00 rw-p 00000000 00:00 0
Size:                 60 kB
Rss:                  12 kB
Anonymous:             8 kB
VmFlags: rd wr mr nr
8f0000-9f0000 r--p 00100000 fe:00 1234                       /data/with a blank/weights.bin
Rss:                 400 kB
Anonymous:             0 kB
VmFlags: rd mr
ff00-ff10 r-xp 00000000 00:00 0                              [vdso]
Rss:                   4 kB
Anonymous:             0 kB
VmFlags: rd ex
"""
    (tmp_path / "smaps").write_text(text)
    first, second, third = read_smaps(tmp_path / "smaps")
    assert first == Mapping(0x7F00, 0x8F00, 0, "", 12288, 8192, frozenset(("rd", "wr", "mr", "nr")))
    assert second.path == "/data/with a blank/weights.bin"
    assert (second.begin, second.offset, second.resident) == (0x8F0000, 0x100000, 400 << 10)
    assert third.path == ""


def test_the_peak_stays_when_memory_goes() -> None:
    size = 200 << 20
    # A mapping of its own: what malloc frees may stay with the process (`train lora` wants it).
    block = mmap.mmap(-1, size)
    np.frombuffer(block, np.uint8)[:] = 1
    assert peak_resident() >= size
    before = peak_resident()
    block.close()
    assert peak_resident() > before - (1 << 20)  # the system counts in steps
    assert sum(mapping.resident for mapping in read_smaps()) < before - size // 2
