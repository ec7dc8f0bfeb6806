"""What sessions share: the engine, the encoder, the judge, and the prefix that was read once."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from stepguard.diagnose import Asker
from stepguard.errors import ModelFormatError, RuntimeMissingError, check_process
from stepguard.judge import Judge
from stepguard.prefix_store import PrefixStore
from stepguard.prompt import Encoder
from stepguard.rationale import Outcome, Rationale
from stepguard.runtime import PAGE_TOKENS, Engine, Result, Segment, State, Ticket
from stepguard.shelf import Shelves
from stepguard.writing import Scribe

# A wait is cut into slices, so that Ctrl-C is heard between them.
_SLICE = 0.1

# Of the KV pages, what one path may take: questions and other branches need some as well.
_SHARE_OF_PAGES = 0.75


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads forests, and remembers in which process it may."""

    engine: Engine
    encoder: Encoder
    judge: Judge
    shelves: Shelves
    context: int
    """The longest path in tokens that a session may have, the prefix counted."""
    asker: Asker
    """The question behind which the labels of a diagnosis are read."""
    written: Written | None = None
    """How answers are written; None for a guard that is not asked to."""
    process: int = field(default_factory=os.getpid)

    @classmethod
    def of(
        cls,
        engine: Engine,
        encoder: Encoder,
        judge: Judge,
        *,
        context: int,
        store: PrefixStore | None = None,
        rationale: Rationale | None = None,
        limit: int | None = None,
        asker: Asker | None = None,
    ) -> Reader:
        """Reads the prefix, or takes it from the store.

        rationale: how written answers are read, for a guard that writes; limit: their most tokens.
        asker: the question of a diagnosis, where it is not that of the verdict.

        Raises:
            ValueError: the memory is too small for it.
            ModelFormatError: it is longer than the context, or the model fails on it.
        """
        state = store.load(engine) if store is not None else None
        if state is None:
            state = _read_prefix(engine, np.asarray(encoder.prefix_ids, np.int32))
            if store is not None:
                store.save(engine, state)
        pages = int(engine.stats()["pages_total"] * PAGE_TOKENS * _SHARE_OF_PAGES)
        asker = asker or Asker(encoder, judge.labels)
        reader = cls(engine, encoder, judge, Shelves(state), min(context, pages), asker)
        if rationale is None:
            return reader
        scribe = Scribe(lambda segments: wait(engine.submit(segments)), reader.shelves.evict)
        written = Written(scribe, rationale, limit or rationale.limit)
        return replace(reader, written=written)

    @property
    def room(self) -> int:
        """Most tokens of a path before an answer is written: half of the context at least."""
        if self.written is None or not self.judge.writes:
            return self.context
        return max(self.context // 2, self.context - self.written.limit)

    @property
    def prefix(self) -> State:
        """The State of the prompt's constant part."""
        return self.shelves.prefix

    def is_foreign_process(self) -> bool:
        """True in a child of fork(): nothing may be read there, and no lock touched."""
        return os.getpid() != self.process

    def check_process(self) -> None:
        """Raises ForkedProcessError in a child of fork()."""
        check_process(self.process, "this guard")

    def run(self, segments: Sequence[Segment], until: float | None = None) -> list[Result]:
        """Submits a forest and waits for it; where memory runs out, idle States make room.

        until: a time of `time.monotonic`, or None.

        Raises:
            EngineClosed: the guard was closed.
            LateError: it is not done by `until`, and goes on.
        """
        while True:
            seconds = None if until is None else max(until - time.monotonic(), 0.0)
            results = wait(self.engine.submit(segments, seconds=seconds), until=until)
            if not short_of_memory(results) or not self.shelves.evict():
                return results
            del results  # what was read holds memory, too


@dataclass(frozen=True, eq=False)
class Written:
    """How answers are written: by whom, how they are read, and how long they may be."""

    scribe: Scribe
    rationale: Rationale
    limit: int

    def finish(self, asked: Sequence[Result], judge: Judge, until: float | None) -> list[Outcome]:
        """Writes the answers behind questions that were read, and reads them.

        Raises:
            EngineClosed: the guard was closed.
        """
        rationale, rows = self.rationale, judge.rows
        writings = [rationale.begin(result, rows, until, self.limit) for result in asked]
        self.scribe.write(writings)
        return [rationale.read(writing, judge.labels) for writing in writings]


class LateError(Exception):
    """A forest was not done in time; never leaves a session."""

    def __init__(self, ticket: Ticket) -> None:
        super().__init__("not done in time")
        self.ticket = ticket


def short_of_memory(results: Sequence[Result]) -> bool:
    """Whether a segment found no page or slot."""
    return any(result.reason == "memory" for result in results)


def wait(
    ticket: Ticket, watch: Callable[[], None] | None = None, *, until: float | None = None
) -> list[Result]:
    """The results; calls `watch` now and then. Whatever interrupts it cancels the forest.

    Raises:
        LateError: it is not done by `until`, a time of `time.monotonic`; it is not cancelled.
    """
    try:
        while True:
            left = _SLICE if until is None else until - time.monotonic()
            with contextlib.suppress(TimeoutError):
                return ticket.wait(min(max(left, 0.0), _SLICE))
            if left <= 0:
                break
            if watch is not None:
                watch()
    except BaseException:
        ticket.cancel()
        raise
    raise LateError(ticket)


def _read_prefix(engine: Engine, prefix: np.ndarray) -> State:
    (result,) = wait(engine.submit([Segment(prefix, engine.root, keep=True)]))
    if result.reason == "memory":
        pages = engine.stats()["pages_total"]
        if engine.device == "cuda" and pages * PAGE_TOKENS >= len(prefix):
            raise RuntimeMissingError(
                "device 'cuda'",
                expected=f"memory on the GPU to read the prompt's {len(prefix)} tokens",
                got=result.message,
                fix="End what else uses the GPU, or give a larger gpu_memory=.",
            )
        raise ValueError(
            f"memory: too small: expected room for the prompt's {len(prefix)} tokens, "
            f"got {pages} pages of {PAGE_TOKENS}. Give more bytes, or leave it out."
        )
    if result.reason or result.state is None:
        raise ModelFormatError(
            "the constant part of the prompt",
            expected=f"a model that reads its {len(prefix)} tokens",
            got=f"{result.reason}: {result.message}",
            fix="Export with a shorter prompt.",
        )
    return result.state
