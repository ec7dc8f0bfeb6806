"""What sessions share: the engine, the encoder, the judge, and the prefix that was read once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from stepguard.errors import ModelFormatError, check_process
from stepguard.judge import Judge
from stepguard.prompt import Encoder
from stepguard.runtime import Engine, Result, Segment, State, Ticket

# A wait is cut into slices, so that Ctrl-C is heard between them.
_SLICE = 0.1


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads forests, and remembers in which process it may."""

    engine: Engine
    encoder: Encoder
    judge: Judge
    prefix: State
    process: int = field(default_factory=os.getpid)

    @classmethod
    def of(cls, engine: Engine, encoder: Encoder, judge: Judge) -> Reader:
        """Reads the prefix.

        Raises:
            ValueError: the memory is too small for it.
            ModelFormatError: it is longer than the context, or the model fails on it.
        """
        prefix = np.asarray(encoder.prefix_ids, np.int32)
        (result,) = wait(engine.submit([Segment(prefix, engine.root, keep=True)]))
        if result.reason == "memory":
            raise ValueError(f"memory: too small for the prompt's {len(prefix)} tokens")
        if result.reason or result.state is None:
            raise ModelFormatError(
                "the constant part of the prompt",
                expected=f"a model that reads its {len(prefix)} tokens",
                got=f"{result.reason}: {result.message}",
                fix="Export with a shorter prompt.",
            )
        return cls(engine, encoder, judge, result.state)

    def is_foreign_process(self) -> bool:
        """True in a child of fork(): nothing may be read there, and no lock touched."""
        return os.getpid() != self.process

    def check_process(self) -> None:
        """Raises ForkedProcessError in a child of fork()."""
        check_process(self.process, "this guard")

    def run(self, segments: Sequence[Segment]) -> list[Result]:
        """Submits a forest and waits for it.

        Raises:
            EngineClosed: the guard was closed.
        """
        return wait(self.engine.submit(segments))


def wait(ticket: Ticket, watch: Callable[[], None] | None = None) -> list[Result]:
    """The results; calls `watch` now and then. Whatever interrupts it cancels the forest."""
    try:
        while True:
            with contextlib.suppress(TimeoutError):
                return ticket.wait(_SLICE)
            if watch is not None:
                watch()
    except BaseException:
        ticket.cancel()
        raise
