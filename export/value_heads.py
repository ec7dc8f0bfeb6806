"""Value heads of delta layers, which a GGUF file stores in another order than a checkpoint.

Several value heads may share a key head. In a checkpoint those stand together; llama.cpp's
converter deals them round: the first value head of every key head, then the second of every one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ValueHeads:
    """Where the value heads lie among the rows, columns or entries of a tensor: at its end.

    `start` is how many places stand in front of them, which keep their order; `size` is how many
    places a head takes.
    """

    k_heads: int
    v_heads: int
    size: int
    start: int

    def stored(self, begin: int, end: int) -> Places:
        """Where a GGUF file has the places begin..end of the checkpoint: int64 [end - begin]."""
        places = np.arange(begin, end)
        head, within = np.divmod(places - self.start, self.size)
        key, turn = np.divmod(head, self.v_heads // self.k_heads)
        dealt = self.start + (turn * self.k_heads + key) * self.size + within
        return np.where(places < self.start, places, dealt)


def gather(read: Callable[[int, int], Array], places: Places) -> Array:
    """The rows at `places` of what `read` gives by begin and end; neighbours are read at once."""
    cuts = np.flatnonzero(np.diff(places) != 1) + 1
    runs = np.split(places, cuts)
    return np.concatenate([read(int(run[0]), int(run[-1]) + 1) for run in runs])
