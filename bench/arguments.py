"""Types of arguments; argparse turns their ValueError into wrong usage."""

from __future__ import annotations


def count(text: str) -> int:
    """A positive whole number."""
    return _at_least(1, text)


def seed(text: str) -> int:
    """A whole number that is not negative."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    value = int(text)
    if value < least:
        raise ValueError(text)
    return value
