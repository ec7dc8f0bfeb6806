"""What a verdict says, and why one could not be given."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """What a verdict says of the trajectory up to and including a step."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    UNSURE = "unsure"  # inside the calibrated band
    UNAVAILABLE = "unavailable"  # no answer; the reason says why


class Reason(StrEnum):
    """Why there is no answer. docs/errors.md says what helps."""

    DEADLINE = "deadline"
    OVERFLOW = "overflow"
    MEMORY = "memory"
    MALFORMED = "malformed"
    NO_VERDICT = "no_verdict"
    NUMERIC = "numeric"
    INTERNAL = "internal"
    CLOSING = "closing"
