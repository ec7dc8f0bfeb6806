"""How much of the machine an engine takes when nobody says."""

from __future__ import annotations

import os

from stepguard.manifest import Architecture

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
    """Bytes for pages, slots and scratch: a quarter of the machine's memory, at most 4 GiB.

    The memory is reserved as address space and taken only where pages are used.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(total // 4, _MOST_MEMORY)


def row_bytes(architecture: Architecture) -> int:
    """Most bytes that one token takes in a forward while it runs, all that is kept aside.

    The rows of one layer of each kind, as if none of them were freed before the layer ends.
    """
    a, delta = architecture, architecture.delta
    q, kv, widest = a.heads * a.head_dim, a.kv_heads * a.head_dim, max(a.hidden, a.mlp)
    norms = 4 * a.hidden
    # Queries with their gate, keys and values; normed queries beside them; what comes out.
    attention = 2 * q + 2 * kv + 2 * q + a.rotary_dim
    floats = norms + attention + a.mlp + widest
    if delta is not None:
        # Convolved and plain q, k and v; the output gate; decay and beta, twice; what comes out.
        floats += 2 * delta.channels + 2 * delta.values + 4 * delta.v_heads
    return 4 * floats
