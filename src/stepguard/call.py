"""One call on a session: when it began, and when its answer is due."""

from __future__ import annotations

import time
from dataclasses import dataclass

# Longer waits than a lock can count are no limit.
_MOST_MS = 1e9


@dataclass(frozen=True)
class Call:
    """Times of `time.monotonic`; `until` is None without a deadline."""

    started: float
    until: float | None

    @classmethod
    def begin(cls, deadline_ms: float | None = None) -> Call:
        """A call that begins now. Raises ValueError unless `deadline_ms` is positive or None."""
        now = time.monotonic()
        if deadline_ms is None:
            return cls(now, None)
        if isinstance(deadline_ms, bool) or not isinstance(deadline_ms, int | float):
            got = type(deadline_ms).__name__
            raise TypeError(f"deadline_ms: expected milliseconds or None, got {got}")
        if not deadline_ms > 0:  # also for a NaN
            raise ValueError(f"deadline_ms: expected more than 0, got {deadline_ms}")
        return cls(now, now + deadline_ms / 1000 if deadline_ms < _MOST_MS else None)

    @property
    def left(self) -> float:
        """Seconds until the answer is due, as locks take them: -1 for no limit."""
        return -1.0 if self.until is None else max(self.until - time.monotonic(), 0.0)

    @property
    def passed_ms(self) -> float:
        """Milliseconds since it began."""
        return (time.monotonic() - self.started) * 1000
