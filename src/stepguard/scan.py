"""The reading of one text by a screen, window by window, and what was found so far."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from stepguard.errors import ForkedProcessError
from stepguard.manifest.screen import ScreenManifest
from stepguard.taxonomy import GuardId, Reason, Status, Verdict

SCREEN = "screen"
"""The mode of a screen's verdicts."""

_LATE = "the time given to the call ran out"


class ClosedError(RuntimeError):
    """Never leaves a scan."""


class Window:
    """Token ids int64 [n] with special ones around them; how many are the text's, how many of those
    stand for what the tokenizer does not know; the place in the text where it ends."""

    __slots__ = ("ids", "place", "tokens", "unknown")

    def __init__(self, ids: npt.NDArray[np.int64], tokens: int, unknown: int, place: int) -> None:
        self.ids, self.tokens, self.unknown, self.place = ids, tokens, unknown, place


class _Screen(Protocol):
    """What a scan asks of its screen."""

    manifest: ScreenManifest
    pace: float

    def check_process(self) -> None: ...
    def windows(self, text: str) -> Iterator[Window]: ...
    def margin(self, ids: npt.NDArray[np.int64]) -> float: ...
    def score(self, margin: float) -> tuple[Status, float]: ...


class Scan:
    """The reading of one text. Threads take turns; what was read is kept when the time runs out."""

    def __init__(self, screen: _Screen, text: str) -> None:
        self._screen = screen
        self._length, self._blank = len(text), not text.strip()
        self._windows = screen.windows("" if self._blank else text)
        self._lock = threading.Lock()
        self._margin, self._failed = -math.inf, dict[str, Any]()
        self._done = False
        self._count = self._tokens = self._unknown = self._place = 0
        self._seconds = 0.0

    @property
    def done(self) -> bool:
        """Whether it was read to its end, or to where it could not be read."""
        return self._done

    def run(self, until: float | None) -> bool:
        """Reads on; False where a time of `time.monotonic` came first. A window is not begun where
        the windows so far took longer than what is left.

        Raises ForkedProcessError in a child of fork().
        """
        self._screen.check_process()
        left = -1.0 if until is None else max(until - time.monotonic(), 0.0)
        if self._done or not self._lock.acquire(timeout=left):
            return self._done
        started = time.monotonic()
        try:
            while not self._done:
                if until is not None and time.monotonic() + self._screen.pace >= until:
                    break
                self._step()
        finally:
            self._seconds += time.monotonic() - started
            self._lock.release()
        return self._done

    def _step(self) -> None:
        """One window more."""
        try:
            window = next(self._windows, None)
            if window is None:
                self._done = True
                if self._count == 0 and not self._blank:
                    self._fail(Reason.MALFORMED, "the tokenizer sees nothing in this text")
                return None
            margin = self._screen.margin(window.ids)
        except ForkedProcessError:
            raise
        except ClosedError as error:
            return self._fail(Reason.CLOSING, str(error))
        except MemoryError:
            return self._fail(Reason.MEMORY, "the process is out of memory")
        except ValueError as error:  # no Unicode, too
            return self._fail(Reason.MALFORMED, f"a text that cannot be read: {error}")
        except Exception as error:  # of ONNX Runtime and tokenizers, whose errors are open lists
            return self._fail(Reason.INTERNAL, f"{type(error).__name__}: {error}")
        if math.isnan(margin):
            return self._fail(Reason.NUMERIC, "a logit is not a finite number")
        self._margin = max(self._margin, margin)
        self._count, self._place = self._count + 1, window.place
        self._tokens, self._unknown = self._tokens + window.tokens, self._unknown + window.unknown
        return None

    def _fail(self, reason: Reason, message: str) -> None:
        self._done, self._failed = True, {"reason": reason, "message": message}

    def verdict(self, step: int | None, unreadable: int = 0) -> Verdict:
        """What was found so far about the text of a step; `unavailable(deadline)` unless `done`."""
        known = 1 - self._unknown / self._tokens if self._tokens else 1.0
        common: dict[str, Any] = {
            "guard": GuardId(self._screen.manifest.sha256, ""),
            "mode": SCREEN,
            "step": step,
            "unreadable": unreadable,
            "windows": self._count,
            "tokens_read": self._tokens,
            "latency_ms": self._seconds * 1000,
        }
        failed = self._failed or ({} if self._done else {"reason": Reason.DEADLINE})
        if failed:
            share = self._place / max(1, self._length)
            failed = {"message": _LATE, **failed, "coverage": known * share}
            return Verdict(status=Status.UNAVAILABLE, **failed, **common)
        if self._count == 0:
            return Verdict(status=Status.SAFE, score=0.0, **common)
        status, score = self._screen.score(self._margin)
        return Verdict(status=status, margin=self._margin, score=score, coverage=known, **common)
