"""What an adapter remembers by key, the newest ones only."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_T = TypeVar("_T")

MOST = 256


class Recent(Generic[_T]):
    """A mapping that lets go of what was not used for longest. Threads may share it."""

    def __init__(self, make: Callable[[], _T], most: int = MOST) -> None:
        """make: of what a new key gets."""
        self._make, self._most = make, most
        self._kept: OrderedDict[Hashable, _T] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, key: Hashable) -> _T:
        """What belongs to the key."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = self._make()
            self._kept.move_to_end(key)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return self._kept[key]

    def find(self, key: Hashable) -> _T | None:
        """The same, None where nothing does."""
        with self._lock:
            return self._kept.get(key)

    def drop(self, key: Hashable) -> None:
        """Lets go of it."""
        with self._lock:
            self._kept.pop(key, None)

    def __len__(self) -> int:
        return len(self._kept)
