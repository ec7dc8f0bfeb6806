"""What a diagnosis answers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stepguard.taxonomy.dimensions import Dimension
from stepguard.taxonomy.status import Reason
from stepguard.taxonomy.verdict import GuardId

Shares = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Where a risk came from, how the agent failed, what harm follows: label id -> probability.

    The probabilities of a dimension add up to 1. They are locally normalised along the tokens of
    the labels (see `taxonomy/trie.py`), not the model's global ones, and no calibration stands
    behind them. A dimension that was not read, or that the guard does not answer, is empty.
    """

    guard: GuardId
    taxonomy: str
    """Name of the taxonomy that the labels belong to."""
    order: tuple[str, ...]
    """The dimensions in the order in which the guard answers them."""
    top: int = 1
    """1: every dimension is asked on the best labels of those before it. k: it is averaged over the
    k likeliest answers so far, by their probability."""
    risk_source: Shares = field(default_factory=dict)
    failure_mode: Shares = field(default_factory=dict)
    real_world_harm: Shares = field(default_factory=dict)
    out_of_vocabulary: Shares = field(default_factory=dict)
    """Dimension -> the share that the model gives, where its labels begin, to what is none."""
    written: Mapping[str, str] = field(default_factory=dict)
    """Dimension -> id of the label that the guard would write, token by token, if it could write
    labels only. It is the likeliest one whenever that has over one half."""
    step: int | None = None
    """Index of the last step of the trajectory that was diagnosed; None before the first."""
    reason: Reason | None = None
    """Why it is not complete; None when it is."""
    message: str = ""
    """The reason in words, for people."""
    coverage: float = 1.0
    """Share of the trajectory's tokens that was read."""
    left_out: tuple[tuple[int, int], ...] = ()
    """First and last index of every run of steps that no longer fit the context."""
    windows: int = 1
    """In how many windows the trajectory was read; the least safe of them is diagnosed."""
    tokens_read: int = 0
    """Tokens read for it."""
    latency_ms: float = 0.0
    """From the call to the answer."""

    @property
    def complete(self) -> bool:
        """True when every dimension of the guard was read."""
        return self.reason is None

    def of(self, dimension: Dimension | str) -> Shares:
        """The probabilities of one dimension."""
        found: Shares = getattr(self, Dimension(dimension).value)
        return found

    @property
    def best(self) -> dict[str, str]:
        """Dimension -> id of its likeliest label, where it was read, in the guard's order."""
        shares = {name: self.of(name) for name in self.order}
        return {name: max(found, key=lambda i: found[i]) for name, found in shares.items() if found}

    def to_dict(self) -> dict[str, Any]:
        """The fields, `complete` and `best`, ready for JSON."""
        return {"complete": self.complete, "best": self.best, **dataclasses.asdict(self)}

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict())
