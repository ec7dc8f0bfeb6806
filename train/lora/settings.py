"""What a run is made of; kept beside its checkpoints, since another setting is another run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from stepguard.errors import TrainingError

Precision = Literal["bf16", "fp32"]


@dataclass(frozen=True)
class Settings:
    """layers: how many of the top layers learn; those below stay as they are, and what they give is
    kept on disk. rank, alpha, dropout: of the adapter, B @ A * alpha / rank. rate: the highest
    of the learning rate, after `warmup` of all steps, from where it falls as a cosine. batch:
    records a step. context: most tokens of a prefix with its question. prefixes: most labelled
    ones of a record; None is all of them. labels: the weight of a diagnosis beside a verdict.
    precision: of matrix products in training.
    """

    layers: int
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    rate: float = 3e-4
    warmup: float = 0.05
    epochs: int = 2
    batch: int = 8
    context: int = 1024
    prefixes: int | None = None
    labels: float = 0.5
    seed: int = 0
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        whole = ("layers", "rank", "alpha", "epochs", "batch", "context")
        for name in whole:
            if getattr(self, name) < 1:
                self._refuse(name, "a whole number from 1 up")
        if self.prefixes is not None and self.prefixes < 1:
            self._refuse("prefixes", "a whole number from 1 up")
        for name, low, high in (("dropout", 0, 0.9), ("warmup", 0, 0.9), ("labels", 0, 100)):
            if not low <= getattr(self, name) <= high:
                self._refuse(name, f"a number from {low} to {high}")
        if not 0 < self.rate < 1:
            self._refuse("rate", "a number between 0 and 1")

    def _refuse(self, name: str, expected: str) -> None:
        raise TrainingError(name, expected=expected, got=str(getattr(self, name)))

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)
