"""Whole trajectories on their way through the engine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from stepguard.forest import Forest, chain
from stepguard.judge import Cost, Judge
from stepguard.prompt import Encoder, Trajectory
from stepguard.reader import Reader, short_of_memory, wait
from stepguard.runtime import PAGE_TOKENS, Result, Ticket
from stepguard.taxonomy import Reason, Verdict
from stepguard.track import Ask, Track

# Questions take pages of their own while they run, and other sessions take some too.
_SHARE_OF_FREE = 0.75

Progress = Callable[[int, int], None]
_T = TypeVar("_T")
# What becomes of a trajectory's questions, their results (two a question: what was read before it,
# and itself) and the milliseconds that they took.
Make = Callable[[Sequence[Ask], Sequence[Result], float], _T]


@dataclass
class _Waiting:
    asks: Sequence[Ask]
    forest: Forest
    ticket: Ticket
    started: float
    tokens: int


class Queue(Generic[_T]):
    """Trajectories on their way through the engine, the oldest first."""

    def __init__(self, reader: Reader, progress: Progress | None, make: Make[_T]) -> None:
        self._reader, self._progress, self._make = reader, progress, make
        self._waiting: deque[_Waiting] = deque()
        self._done: list[_T] = []

    def run(self, plans: Sequence[Sequence[Ask]]) -> list[_T]:
        """What is made of each plan, in their order."""
        sizes = [tokens_of(plan) for plan in plans]
        while (room := self._room()) < max(sizes, default=0) and self._reader.shelves.evict():
            pass
        self._before, self._total = self._reader.engine.stats()["tokens"], sum(sizes)
        try:
            for plan, size in zip(plans, sizes, strict=True):
                while self._waiting and size + sum(item.tokens for item in self._waiting) > room:
                    self._finish_oldest()
                self._submit(plan, size)
            while self._waiting:
                self._finish_oldest()
        except BaseException:
            for item in self._waiting:
                item.ticket.cancel()
            raise
        return self._done

    def _room(self) -> int:
        """Tokens that may wait at once."""
        stats = self._reader.engine.stats()
        free = stats["pages_total"] - stats["pages_used"]
        return int(free * PAGE_TOKENS * _SHARE_OF_FREE)

    def _submit(self, plan: Sequence[Ask], size: int) -> None:
        forest = chain(self._reader.prefix, plan, self._reader.judge.rows)
        ticket = self._reader.engine.submit(forest.segments)
        self._waiting.append(_Waiting(plan, forest, ticket, time.perf_counter(), size))

    def _finish_oldest(self) -> None:
        item = self._waiting.popleft()
        results = wait(item.ticket, self._watch)
        while short_of_memory(results) and self._reader.shelves.evict():
            results = wait(self._reader.engine.submit(item.forest.segments), self._watch)
        self._watch()
        latency = (time.perf_counter() - item.started) * 1000
        self._done.append(self._make(item.asks, results, latency))

    def _watch(self) -> None:
        if self._progress is not None:
            read = int(self._reader.engine.stats()["tokens"] - self._before)
            self._progress(min(read, self._total), self._total)


def asks_of(encoder: Encoder, trajectory: Trajectory) -> list[Ask]:
    """The questions of a trajectory; what follows the last one need not be read."""
    track, asks = Track.begin(encoder, trajectory.profile), []
    for step in trajectory.steps:
        track = track.extend(encoder, step)
        if step.is_action:
            asks.append(Ask.at(track, encoder))
    return asks or [Ask.at(track, encoder)]


def verdicts_of(
    judge: Judge, asks: Sequence[Ask], results: Sequence[Result], latency: float
) -> list[Verdict]:
    """A verdict per question."""
    verdicts: list[Verdict] = []
    have = unasked = 0
    for index, ask in enumerate(asks):
        if message := ask.track.malformed:
            cost = Cost(unasked, latency)
            verdicts.append(judge.unavailable(ask, Reason.MALFORMED, message, have, cost))
            continue
        read, answer = results[2 * index : 2 * index + 2]
        if not read.reason:
            unasked, have = unasked + ask.track.total - have, ask.track.total
        if not answer.reason:
            unasked += len(ask.question)
        verdict = judge.verdict(ask, [answer], have, Cost(unasked, latency))
        unasked = 0 if verdict.reason is None else unasked
        verdicts.append(verdict)
    return verdicts


def tokens_of(plan: Sequence[Ask]) -> int:
    """Tokens that reading costs."""
    return max((ask.track.total for ask in plan), default=0) + sum(
        len(ask.question) for ask in plan
    )
