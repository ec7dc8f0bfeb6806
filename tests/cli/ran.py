"""What a command did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    status: int
    out: str
    err: str
