"""What the C library does with freed memory while a run goes on."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h


def keep_freed_memory() -> bool:
    """Lets this process keep what it frees, as glibc's mallopt has it; False where there is none.

    A record frees hundreds of blocks of megabytes, each a mapping that the system fills with zeros
    page by page when the next record asks for it: a third of a step where faults are slow.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return all(
        mallopt(option, value) == 1 for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1))
    )
