"""What an engine must do to be measured. Each runs in a process of its own."""

from __future__ import annotations

import importlib
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
Logits = npt.NDArray[np.float32]

# name -> the module of `stepguard.bench.latency` that has it. Ours comes first.
PEERS = {
    "stepguard": "ours",
    "genai": "genai",
    "llama.cpp": "llama",
    "transformers": "torch_peer",
    "openvino": "openvino_peer",
}


_ALL_LAYERS = 1000


@dataclass(frozen=True)
class Setting:
    """files: what `prepare` made. rows: int32 [r] output rows to compare. threads: of a forward.

    room: the longest path in tokens that will be read.
    """

    files: Path
    rows: Ids
    threads: int
    room: int
    options: dict[str, Any]


@dataclass(frozen=True)
class Rounds:
    """Step verdicts in several sessions, round after round; milliseconds.

    elapsed: of all rounds, and of what was read beside them. latencies: from the begin of its round
    to each verdict. logits: float32 [sessions, r], those of the last round.
    """

    elapsed: float
    latencies: list[float]
    logits: Logits


class Peer(ABC):
    """One engine. Times are milliseconds; logits are float32 [r] of the wanted rows.

    ways: how it can serve several sessions, see `rounds`.
    """

    version: str
    ways: tuple[str, ...]

    @abstractmethod
    def __init__(self, setting: Setting) -> None:
        """Loads the model."""

    @abstractmethod
    def read(self, ids: Ids) -> None:
        """Forgets all, and reads a context that the coming steps stand on."""

    @abstractmethod
    def step(self, ids: Ids, question: Ids) -> tuple[float, Logits]:
        """A step verdict: reads `ids`, which stay, and answers after `question`, which does not.

        Timed in the best way that the engine's API allows. Afterwards it stands where it stood.
        """

    @abstractmethod
    def again(self, ids: Ids) -> tuple[float, Logits]:
        """Reads all of `ids` from nothing, timed; the context is lost."""

    @abstractmethod
    def add(self, ids: Ids) -> None:
        """One more session, which reads a context of its own."""

    @abstractmethod
    def rounds(
        self, way: str, steps: Sequence[Ids], question: Ids, count: int, long: Ids
    ) -> Rounds:
        """`count` times a step verdict in the first len(steps) sessions, which stay as they are.

        way: one of `ways`. long: int32 [n] tokens that are read beside it, empty for none.
        """


class Profiled(Peer):
    """An engine that tells where its time goes."""

    @abstractmethod
    def profile(self, ids: Ids, question: Ids) -> dict[str, float]:
        """Milliseconds inside each operation during one `step`, and "all" of it."""


class InTurn(Peer):
    """An engine that knows nothing of sessions: one after the other, and a part of the long text
    before each round."""

    ways: tuple[str, ...] = ("in turn",)

    @abstractmethod
    def use(self, session: int) -> None:
        """The coming `step` is in that session, counted from 0 as they were added."""

    @abstractmethod
    def beside(self, ids: Ids, first: bool) -> None:
        """Reads a part of a long text in a session of its own, which `first` begins."""

    def rounds(
        self, way: str, steps: Sequence[Ids], question: Ids, count: int, long: Ids
    ) -> Rounds:
        elapsed, latencies = 0.0, []
        for index, part in enumerate(np.array_split(long, count)):
            since = self._read_beside(part, index == 0)
            times, logits = self.round(way, steps, question)
            latencies += [since + time for time in times]
            elapsed += since + times[-1]
        return Rounds(elapsed, latencies, logits)

    def round(self, way: str, steps: Sequence[Ids], question: Ids) -> tuple[list[float], Logits]:
        """Milliseconds from the begin to each verdict, and logits [sessions, r]."""
        since, times, answers = 0.0, [], []
        for session, step in enumerate(steps):
            self.use(session)
            elapsed, logits = self.step(step, question)
            since += elapsed
            times.append(since)
            answers.append(logits)
        return times, np.stack(answers)

    def _read_beside(self, ids: Ids, first: bool) -> float:
        """Milliseconds."""
        if not len(ids):
            return 0.0
        started = time.perf_counter()
        self.beside(ids, first)
        return (time.perf_counter() - started) * 1000


def gpu_layers(device: str, offloads: bool) -> int:
    """How many layers llama.cpp is to have on the GPU: none, or more than there are.

    offloads: whether it was built with one. Raises ImportError where that is what is missing.
    """
    if device == "cpu":
        return 0
    if not offloads:
        raise ImportError("this llama-cpp-python was built without CUDA")
    return _ALL_LAYERS


def make_peer(name: str, setting: Setting) -> Peer:
    """Raises ImportError when its package is not installed."""
    module = importlib.import_module(f"stepguard.bench.latency.{PEERS[name]}")
    peer: Peer = module.make(setting)
    return peer
