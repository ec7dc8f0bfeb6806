"""Chance that gives the same on every machine and Python: only `random()` of a text is promised."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """Draws from a key; two with equal keys draw the same."""

    def __init__(self, *key: object) -> None:
        self._random = random.Random("/".join(map(str, key)))

    def below(self, count: int) -> int:
        """0 to count - 1."""
        return int(self._random.random() * count)

    def between(self, low: int, high: int) -> int:
        """low to high, both included."""
        return low + self.below(high - low + 1)

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def chance(self, share: float) -> bool:
        """True in that share of draws."""
        return self._random.random() < share

    def some(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different ones (all, where there are fewer), in a drawn order."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(min(count, len(left)))]
