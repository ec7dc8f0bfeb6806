"""The engines of one measurement: started each in a process of its own, or said to be missing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from stepguard.bench.latency import prepare
from stepguard.bench.latency.devices import peers_on
from stepguard.bench.latency.measure import OURS
from stepguard.bench.latency.peer import PEERS, Ids
from stepguard.bench.latency.remote import LostPeer, MissingPeer, Remote
from stepguard.bench.report import say
from stepguard.bench.shapes import GuardShape
from stepguard.errors import StepguardError
from stepguard.export import progress_bar

T = TypeVar("T")
_ROWS = 4096  # of the output matrix, compared between engines


@dataclass
class Running:
    """What is there to be measured, ours first, and what is not."""

    engines: list[Remote] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def versions(self) -> dict[str, str]:
        """By name."""
        return {engine.name: engine.version for engine in self.engines}

    def leave_out(self, name: str, why: StepguardError | OSError) -> None:
        """Says why an engine is not measured; whatever came of it does not count."""
        reason, fix = str(why), ""
        if isinstance(why, StepguardError):
            reason, fix = why.got or reason, why.fix
        reason = " ".join(reason.split())  # of another program: it may have lines
        say(f"{name} is not measured: {reason}. {fix}".rstrip())
        self.missing[name] = reason
        for engine in self.engines:
            if engine.name == name:
                engine.close()
        self.engines = [engine for engine in self.engines if engine.name != name]

    def without_lost(self, measured: Callable[[list[Remote]], T]) -> T:
        """What `measured` returns of the engines. A peer that fails meanwhile is left out, and the
        others are measured again.

        Raises:
            LostPeer: ours failed.
        """
        while True:
            try:
                return measured(self.engines)
            except LostPeer as error:
                if error.where == OURS:
                    raise
                self.leave_out(error.where, error)


@dataclass(frozen=True)
class Wanted:
    """How the engines are to be started.

    shape: whose random weights they get; None where ours has a model directory that others cannot
    read. peers: names of others. room: the longest path in tokens. sessions: how many paths at
    once. memory: bytes that ours may take. device: what computes, "cpu" or "cuda". activations: of
    ours; None for those that it takes by itself.
    """

    shape: GuardShape | None
    peers: Sequence[str]
    seed: int
    threads: int
    room: int
    sessions: int = 1
    memory: int = prepare.OURS["memory"]
    model: Path | None = None
    device: str = "cpu"
    activations: str | None = None


@contextmanager
def work_folder(work: Path | None) -> Iterator[Path]:
    """The folder where files are made: the given one, which stays, or one that is removed."""
    with ExitStack() as stack:
        if work is None:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stepguard-")))
        work.mkdir(parents=True, exist_ok=True)
        yield work


def start_engines(stack: ExitStack, wanted: Wanted, work: Path, rows: Ids) -> Running:
    """Makes files and loads; `stack` ends the processes. rows: int32 [r] to compare.

    A peer whose files cannot be made, or which does not come up, is said and left out.

    Raises:
        StepguardError: ours cannot be made or loaded.
    """
    peers, missing = peers_on(wanted.device, wanted.peers)
    run = Running(missing=missing)
    for name, reason in missing.items():
        say(f"{name} is not measured: {reason}")
    for name in [OURS, *(peer for peer in PEERS if peer in peers)]:
        say(f"{name}: files and load")
        try:
            engine = _start(name, wanted, work, rows)
        except (StepguardError, OSError) as error:
            if name == OURS:
                raise
            run.leave_out(name, error)
            continue
        run.engines.append(stack.enter_context(engine))
    return run


def _start(name: str, wanted: Wanted, work: Path, rows: Ids) -> Remote:
    if name == OURS and wanted.model is not None:
        files = wanted.model
    elif wanted.shape is not None:
        with progress_bar() as report:
            files = prepare.prepare(name, wanted.shape, work, wanted.seed, report)
    else:
        raise MissingPeer(
            name,
            expected="weights that it can read",
            got="a model directory is for stepguard alone",
            fix="Give --shape NAME for random weights that every engine reads.",
        )
    options: dict[str, Any] = {"sessions": wanted.sessions, "device": wanted.device}
    if name == OURS:
        options = {
            **prepare.OURS,
            "memory": wanted.memory,
            "device": wanted.device,
            "activations": wanted.activations,
        }
    elif wanted.shape is not None:
        options |= prepare.options(name, wanted.shape)
    return Remote(
        name,
        files,
        rows,
        threads=wanted.threads,
        room=wanted.room,
        options=options,
        tokenizer=_tokenizer(wanted, work),
    )


def _tokenizer(wanted: Wanted, work: Path) -> Path | None:
    """The one of our model, which every process loads: a host has one whatever engine it uses."""
    model = wanted.model
    if model is None and wanted.shape is not None:
        model = prepare.our_place(wanted.shape, work, wanted.seed)
    return None if model is None else model / "tokenizer.json"


def random_ids(rng: np.random.Generator, vocabulary: int, count: int) -> Ids:
    """int32 [count] token ids."""
    ids: Ids = rng.integers(0, vocabulary, count, dtype=np.int32)
    return ids


def chosen_rows(rng: np.random.Generator, vocabulary: int) -> Ids:
    """int32 [r], rising: rows of the output matrix whose logits are compared."""
    chosen = rng.choice(vocabulary, min(_ROWS, vocabulary), replace=False)
    rows: Ids = np.sort(chosen).astype(np.int32)
    return rows
