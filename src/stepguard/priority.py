"""Threads that give way to all others."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_LEAST = 19

_T = TypeVar("_T")


def giving_way(make: Callable[[], _T]) -> _T:
    """What `make` gives; the threads that it starts have the lowest priority.

    On Linux, where threads have a priority each and hand it on to those that they start; elsewhere
    they are like all others. Only the compiled engine's threads may be made so: one that runs
    Python would keep the interpreter's lock while it waits for its turn.
    """
    with ThreadPoolExecutor(1, "stepguard-priority", _give_way) as pool:
        return pool.submit(make).result()


def _give_way() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST)
