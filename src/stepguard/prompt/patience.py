"""How long rendering and encoding may take: the call says until when, the long loops below it ask.

A context variable, since many pure functions lie between the two; threads have their own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["OutOfTime", "patience", "poll"]

_until: ContextVar[float | None] = ContextVar("stepguard.patience", default=None)


class OutOfTime(Exception):
    """The time is over; what was begun is dropped. Never leaves a session."""


@contextmanager
def patience(until: float | None) -> Iterator[None]:
    """Inside it `poll` gives up at `until`, a time of `time.monotonic`; None: never."""
    token = _until.set(until)
    try:
        yield
    finally:
        _until.reset(token)


def poll() -> None:
    """Asked about every millisecond. Raises OutOfTime."""
    until = _until.get()
    if until is not None and time.monotonic() >= until:
        raise OutOfTime("not rendered in time")
