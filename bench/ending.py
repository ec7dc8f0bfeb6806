"""A command that is told to end, by SIGTERM, cleans up as if it had been interrupted."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Run = Callable[[argparse.Namespace], int]


def ending(run: Run) -> Run:
    """`run`, which SIGTERM ends with what it holds given back: folders for a while, processes."""

    def clean(arguments: argparse.Namespace) -> int:
        with _heard():
            return run(arguments)

    return clean


@contextmanager
def _heard() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are not for it to hear
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    """Once: a second signal must not break the cleaning off."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)
