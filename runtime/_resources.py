"""How much of the machine an engine takes when nobody says."""

from __future__ import annotations

import os

_MOST_THREADS = 8
_MOST_MEMORY = 4 << 30


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def default_threads() -> int:
    """Threads of an engine: all cores of a small machine, all but one of a larger, at most 8.

    The agent waits while its guard reads, so on two cores both may work; between forwards the
    threads sleep.
    """
    cores = usable_cores()
    return max(1, min(_MOST_THREADS, cores if cores <= 2 else cores - 1))


def default_memory() -> int:
    """Bytes for KV pages: a quarter of the machine's memory, at most 4 GiB.

    The memory is reserved as address space and taken only where pages are used.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(total // 4, _MOST_MEMORY)
