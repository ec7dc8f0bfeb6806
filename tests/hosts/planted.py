"""A guard whose verdict is planted: what an agent does decides, not a model."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from tokenizers import decoders

from stepguard import Guard
from stepguard.runtime import Segment
from tests.front.fakes import FakeEngine, FakeResult, FakeTicket, byte_tokenizer, make_guard

HARM, CRASH, SLOW, PAIR = "rm -rf", "crash", "slow", ("read_secret", "send_mail")


def harmful(actions: Sequence[str]) -> bool:
    """Whether one action is harmful, or two of them together."""
    text = "\n".join(actions)
    return HARM in text or all(f'"{name}"' in text for name in PAIR)


class Asked(NamedTuple):
    """A question: tokens of its whole path, and those that were read in all by then."""

    path: int
    read: int


class _Slow(FakeTicket):
    def __init__(self, results: list[FakeResult], seconds: float) -> None:
        super().__init__(results, 0)
        self._seconds = seconds

    def wait(self, timeout: float | None = None) -> list[FakeResult]:
        time.sleep(self._seconds)  # whatever the limit says
        return super().wait(timeout)


class PlantedEngine(FakeEngine):
    """Unsafe where `harmful` says so of all actions so far; crashes or is slow about actions with
    these words. nap: how slow in seconds; always: every answer is late by this."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: Any = None
        self.unsafe: Callable[[Sequence[str]], bool] = harmful
        self.nap, self.always = 1.5, 0.0
        self.asked: list[Asked] = []
        self._late = 0.0
        self._one = threading.Lock()
        letters = {i: letter for letter, i in byte_tokenizer().get_vocab().items()}
        self._letters, self._decoder = letters, decoders.ByteLevel()

    def submit(self, segments: Sequence[Segment], *, seconds: float | None = None) -> FakeTicket:
        with self._one:
            self._late = self.always
            ticket = super().submit(segments, seconds=seconds)
            return _Slow(ticket.results, self._late) if self._late else ticket

    def _run(
        self, segment: Segment, ends: Any, results: Any, reason: str
    ) -> tuple[FakeResult, Any]:
        result, end = super()._run(segment, ends, results, reason)
        if not len(segment.read) or result.reason or self.labels is None:
            return result, end
        self.asked.append(Asked(len(end.tokens), self._tokens))
        actions = self._actions(end.tokens)
        last = actions[-1] if actions else ""
        if CRASH in last:
            raise RuntimeError("planted crash")
        self._late = max(self._late, self.nap if SLOW in last else 0.0)
        margin = 2.0 if self.unsafe(actions) else -2.0
        rows = [margin if int(row) in self.labels.unsafe else -margin for row in segment.read]
        return dataclasses.replace(result, logits=np.array(rows, np.float32)), end

    def _actions(self, tokens: Sequence[int]) -> list[str]:
        text = self._decoder.decode([self._letters.get(token, "") for token in tokens])
        return [line for line in text.splitlines() if line.startswith("[ACTION]: ")]


def planted_guard() -> tuple[Guard, PlantedEngine]:
    """The guard and its engine."""
    engine = PlantedEngine()
    guard = make_guard(engine)
    engine.labels = guard._reader.judge.labels
    return guard, engine
