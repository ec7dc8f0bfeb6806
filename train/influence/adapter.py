"""The preference score of PRISM (2026) by the gradients of an adapter, a record after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from stepguard.errors import TrainingError
from stepguard.train.kept import Progress
from stepguard.train.lora.adapter import Adapter
from stepguard.train.lora.base import Base
from stepguard.train.lora.lower import Lower
from stepguard.train.lora.rows import Choice, Packed, Row
from stepguard.train.lora.settings import Settings
from stepguard.train.lora.tower import Tower, log_likelihoods, loss_of

Direction = list[Tensor]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Traced:
    """harm: minus the preference score, larger for a record that pulls right verdicts on the
    targets down; loss: of the record's own verdicts."""

    sha256: str
    harm: float
    loss: float

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


class AdapterGradients:
    """A base with the adapter of a checkpoint. It takes the base's layers over."""

    def __init__(self, base: Base, settings: Settings, checkpoint: Path, beside: int = 1) -> None:
        """settings: of the run. beside: records that are read side by side, a core each; it changes
        no bit.

        Raises:
            TrainingError: the adapter is of another shape.
        """
        adapter = Adapter(base, settings)
        adapter.load(checkpoint)
        adapter.train(False)
        self._parameters = list(adapter.parameters.values())
        self._tower = Tower(base.model, settings.precision)
        self._first = base.layers - settings.layers
        self._lower = Lower(self._tower, self._first, base.sha256, None)
        self._beside = beside

    def direction(self, targets: Sequence[Packed], progress: Progress | None = None) -> Direction:
        """float32, of every matrix: the mean over the verdicts of the targets, by their weights, of
        pi (grad loss(right) - grad loss(wrong)), where pi is the likelihood of the right one."""
        weight = sum(question.weight for packed in targets for question in packed.questions)
        found = [torch.zeros_like(one) for one in self._parameters]
        gradients = self._side_by_side(partial(self._gradient, _preference), targets)
        for done, (gradient, _) in enumerate(gradients, start=1):
            for total, part in zip(found, gradient, strict=True):
                total.add_(part, alpha=1 / weight)
            if progress is not None:
                progress(done, len(targets))
        return found

    def trace(self, packed: Sequence[Packed], direction: Direction) -> list[Traced]:
        """What the score says of records that have a labelled prefix."""
        return list(self._side_by_side(partial(self._trace, direction), packed))

    def _trace(self, direction: Direction, packed: Packed) -> Traced:
        gradient, loss = self._gradient(_verdicts, packed)
        pairs = zip(direction, gradient, strict=True)
        score = sum(float(one.double().ravel() @ two.double().ravel()) for one, two in pairs)
        return Traced(packed.record.sha256, -score, loss)

    def _gradient(
        self, measure: Callable[[Tower, Tensor, Row], Tensor], packed: Packed
    ) -> tuple[list[Tensor], float]:
        """Of the sum over a record's rows, and that sum. Raises TrainingError: not finite."""
        found, total = [torch.zeros_like(one) for one in self._parameters], 0.0
        for row in packed.rows:
            hidden = self._lower.get(row)
            hidden = self._tower.run(hidden, row, self._first, len(self._tower.layers))
            value = measure(self._tower, hidden, row)
            for one, part in zip(found, torch.autograd.grad(value, self._parameters), strict=True):
                one.add_(part)
            total += float(value.detach())
        if not all(bool(torch.isfinite(one).all()) for one in found):
            where, expected = packed.record.name, "finite gradients"
            raise TrainingError(where, expected=expected, got="others: is the adapter sound?")
        return found, total

    def _side_by_side(self, work: Callable[[Packed], _T], packed: Sequence[Packed]) -> Iterator[_T]:
        """In the order of the records, as many at once as there are cores: gradients are large."""
        if self._beside == 1:
            yield from map(work, packed)
            return
        torch.set_num_threads(1)
        with ThreadPoolExecutor(
            self._beside, initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            for begin in range(0, len(packed), self._beside):
                yield from pool.map(work, packed[begin : begin + self._beside])


def _verdicts(tower: Tower, hidden: Tensor, row: Row) -> Tensor:
    return loss_of(tower, hidden, row, 0.0)


def _preference(tower: Tower, hidden: Tensor, row: Row) -> Tensor:
    """What has the gradient of `direction`, pi held fast; not yet divided by the weights."""
    right = [question.verdict for question in row.questions]
    wrong = [_other(choice) for choice in right]
    logits = tower.read(hidden, right)
    logs = log_likelihoods(logits, right)
    weights = torch.tensor([question.weight for question in row.questions], dtype=torch.float32)
    share = logs.detach().exp() * weights
    return (share * (log_likelihoods(logits, wrong) - logs)).sum()


def _other(choice: Choice) -> Choice:
    return replace(choice, right=tuple(one for one in choice.ids if one not in choice.right))
