"""The training loop: sittings that can end, or be killed, at any time, and lead to one result.

Everything that a step does is a function of its number: the order of the records and the dropout
come from the seed and the number, the rate from the number alone. So a checkpoint needs the
adapter, the optimiser's moments and the number of steps, and a run that was cut off ends in the
same bits as one that was not, on the same CPU with the same number of threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stepguard.errors import TrainingError
from stepguard.train.kept import Progress
from stepguard.train.lora.adapter import Adapter
from stepguard.train.lora.base import Base
from stepguard.train.lora.learned import Learned
from stepguard.train.lora.lower import Lower
from stepguard.train.lora.rows import Packed
from stepguard.train.lora.settings import Settings
from stepguard.train.lora.start import Start
from stepguard.train.lora.store import Saved, Store, steps_of
from stepguard.train.lora.tower import Tower, loss_of
from stepguard.train.records import Record, digest_of

_BETAS, _EPSILON, _DECAY, _CLIP = (0.9, 0.999), 1e-8, 0.01, 1.0
Clock = Callable[[], float]


@dataclass(frozen=True)
class Sitting:
    """What a sitting did. begun, done, total: steps; seconds: of the sitting; checkpoint: the
    newest; losses: of its steps, a record's mean."""

    begun: int
    done: int
    total: int
    seconds: float
    checkpoint: Path | None
    losses: tuple[float, ...]

    @property
    def finished(self) -> bool:
        """Whether the run is at its end."""
        return self.done == self.total


class Trainer:
    """One sitting of a run of one adapter: nobody else has the folder from construction to the end
    of `sit`. It takes the base's layers over."""

    def __init__(
        self,
        base: Base,
        packed: Sequence[Packed],
        out: Path,
        settings: Settings,
        beside: int = 1,
        start: Start | None = None,
    ) -> None:
        """packed: what is learned; records without a labelled prefix are left out. beside: how many
        records of a step are read at once, on a core each; it changes no bit. start: the adapter
        that the first step changes; without it one that changes nothing yet.

        Raises:
            TrainingError: nothing is left, `out` is another run's or another sitting has it, or a
                setting does not fit.
        """
        # The order of files and lines must not matter.
        self._packed = sorted(
            (one for one in packed if one.rows), key=lambda one: one.record.sha256
        )
        if not self._packed:
            raise TrainingError("records", expected="labelled actions", got="none")
        self.settings = settings
        if beside > 1 and settings.dropout > 0:  # drawn in the order in which records are read
            raise TrainingError("beside", expected="1 with dropout", got=str(beside))
        self._units = units_of([one.record for one in self._packed])
        learned, run = Learned.of([one.record for one in packed]), _run(base, packed, settings)
        if start is not None:
            start.check(base, settings)
            learned, run = learned.joined(start.learned), {**run, "start": start.sha256}
        self._start = start
        self.store = Store(out, run, learned)
        self._open = True
        self._pool = _pool(beside) if beside > 1 else None
        try:
            self._begin(base, out)
        except BaseException:
            self._close()
            raise

    def _begin(self, base: Base, out: Path) -> None:
        settings = self.settings
        self._adapter = Adapter(base, settings)
        self._tower = Tower(base.model, settings.precision)
        self._first = base.layers - settings.layers
        self._lower = Lower(self._tower, self._first, base.sha256, out / "lower")
        self._parameters = self._adapter.parameters
        self._optimiser = torch.optim.AdamW(
            self._parameters.values(),
            lr=settings.rate,
            betas=_BETAS,
            eps=_EPSILON,
            weight_decay=_DECAY,
        )
        self._each = math.ceil(len(self._packed) / settings.batch)
        self.total = self._each * settings.epochs
        self._checkpoint: Path | None = None
        self._step = self._resume(self.store.newest())

    def _close(self) -> None:
        self._open = False
        if self._pool is not None:
            self._pool.shutdown()
        self.store.close()

    def sit(
        self,
        minutes: float | None = None,
        every: int = 50,
        progress: Progress | None = None,
        clock: Clock = time.monotonic,
    ) -> Sitting:
        """Trains to the end, or for about so many minutes; a checkpoint every `every` steps and at
        the end. progress: called with steps done and to do.

        Raises:
            TrainingError: it sat before, or a loss is not finite.
        """
        if not self._open:
            expected, got = "a trainer for each sitting", "a second one"
            raise TrainingError(str(self.store.folder), expected=expected, got=got)
        try:
            return self._sit(minutes, every, progress, clock)
        finally:
            self._close()

    def _sit(
        self, minutes: float | None, every: int, progress: Progress | None, clock: Clock
    ) -> Sitting:
        started, begun, losses = clock(), self._step, list[float]()
        last = started
        while self._step < self.total:
            if progress is not None:
                progress(self._step, self.total)
            losses.append(self._train_step())
            now = clock()
            rate = self._optimiser.param_groups[0]["lr"]
            line = {"step": self._step, "loss": losses[-1], "rate": rate, "seconds": now - last}
            self.store.log(line)
            over = minutes is not None and now - started + (now - last) > 60 * minutes
            if over or self._step == self.total or self._step % every == 0:
                self._save(losses)
            if over:
                break
            last = now
        if progress is not None:
            progress(self._step, self.total)
        seconds = clock() - started
        return Sitting(begun, self._step, self.total, seconds, self._checkpoint, tuple(losses))

    def _train_step(self) -> float:
        """One step of the optimiser; the mean loss of a record in it."""
        number, settings = self._step, self.settings
        epoch, at = divmod(number, self._each)
        order = self._order(epoch)
        chosen = order[at * settings.batch : (at + 1) * settings.batch]
        for group in self._optimiser.param_groups:
            group["lr"] = rate_at(number, self.total, settings)
        self._optimiser.zero_grad(set_to_none=True)
        torch.manual_seed(int(np.random.default_rng([settings.seed, number, 1]).integers(2**62)))
        self._adapter.train(True)
        loss = sum(self._backward([self._packed[one] for one in chosen]))
        torch.nn.utils.clip_grad_norm_(self._parameters.values(), _CLIP)
        self._optimiser.step()
        self._step += 1
        return float(loss)

    def _order(self, epoch: int) -> list[int]:
        """The records of an epoch. Twins stand side by side, so that what a step learns from them
        is the act by which they differ."""
        draws = np.random.default_rng([self.settings.seed, epoch])
        return [one for at in draws.permutation(len(self._units)) for one in self._units[at]]

    def _backward(self, chosen: Sequence[Packed]) -> list[float]:
        """Adds up the gradients of records, whose losses it returns: side by side, a core each,
        but summed in their order, so that the number of threads changes nothing."""
        work = partial(self._gradients, share=1 / len(chosen))
        if self._pool is None:
            found = [work(one) for one in chosen]
        else:  # the longest first: else a core waits for the other's last one
            turns = sorted(range(len(chosen)), key=lambda at: -chosen[at].tokens)
            sent = {at: self._pool.submit(work, chosen[at]) for at in turns}
            found = [sent[at].result() for at in range(len(chosen))]
        for at, parameter in enumerate(self._parameters.values()):
            parts = [gradients[at] for _, gradients in found]
            parameter.grad = torch.stack(parts).sum(0)
        return [loss for loss, _ in found]

    def _gradients(self, packed: Packed, share: float) -> tuple[float, list[Tensor]]:
        total, sums = 0.0, [torch.zeros_like(one) for one in self._parameters.values()]
        for row in packed.rows:
            hidden = self._lower.get(row)
            hidden = self._tower.run(hidden, row, self._first, len(self._tower.layers))
            loss = loss_of(self._tower, hidden, row, self.settings.labels) * share
            if not torch.isfinite(loss):
                where = f"{packed.record.name}: step {self._step}"
                raise TrainingError(
                    where,
                    expected="a finite loss",
                    got=str(float(loss.detach())),
                    fix="Lower --rate.",
                )
            found = torch.autograd.grad(loss, list(self._parameters.values()))
            for one, gradient in zip(sums, found, strict=True):
                one.add_(gradient)
            total += float(loss.detach())
        return total, sums

    def _save(self, losses: Sequence[float]) -> None:
        moments: dict[str, Tensor] = {}
        for name, parameter in self._parameters.items():
            state = self._optimiser.state[parameter]
            moments |= {f"{name}/first": state["exp_avg"], f"{name}/second": state["exp_avg_sq"]}
        recent = losses[-50:]
        state = {"total": self.total, "loss": sum(recent) / len(recent)}
        self._checkpoint = self.store.save(self._step, self._adapter, moments, state)

    def _begin_from(self, start: Start | None) -> None:
        """Step 0 of such a run is a checkpoint, too: what the later ones are compared with."""
        if start is None:
            return
        start.give(self._adapter)
        if not steps_of(self.store.folder):
            self.store.save(0, self._adapter, {}, {"total": self.total})

    def _resume(self, saved: Saved | None) -> int:
        if saved is None:
            self._begin_from(self._start)
            return 0
        self._adapter.load(saved.folder)
        for name, parameter in self._parameters.items():
            self._optimiser.state[parameter] = {
                "step": torch.tensor(float(saved.step)),
                "exp_avg": saved.moments[f"{name}/first"],
                "exp_avg_sq": saved.moments[f"{name}/second"],
            }
        self._checkpoint = saved.folder
        return saved.step


def _pool(count: int) -> ThreadPoolExecutor:
    """Threads that each compute alone: PyTorch's own would share every small product."""
    torch.set_num_threads(1)
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))


def units_of(records: Sequence[Record]) -> list[list[int]]:
    """The places of records: a generated one with its twin, any other alone."""
    units: dict[str, list[int]] = {}
    for place, record in enumerate(records):
        twin = record.meta.get("twin")
        key = min(record.name, twin) if isinstance(twin, str) else record.sha256
        units.setdefault(key, []).append(place)
    return list(units.values())


def rate_at(step: int, total: int, settings: Settings) -> float:
    """The learning rate of a step: a line up, half a cosine down (Loshchilov, Hutter 2016)."""
    warm = max(1, round(settings.warmup * total))
    if step < warm:
        return settings.rate * (step + 1) / warm
    share = (step - warm) / max(1, total - warm)
    return settings.rate * (1 + math.cos(math.pi * share)) / 2


def _run(base: Base, packed: Sequence[Packed], settings: Settings) -> dict[str, object]:
    """What must be the same for a run to go on."""
    weights = [round(sum(q.weight for q in one.questions), 9) for one in packed]
    return {
        "base": base.name,
        "base_sha256": base.sha256,
        "prompt": base.encoder.prompt.asked,
        "labels": base.fields.taxonomy if base.fields is not None else None,
        "records": len(packed),
        "records_sha256": digest_of([one.record for one in packed]),
        "weights": sum(weights),
        "settings": settings.to_dict(),
    }
