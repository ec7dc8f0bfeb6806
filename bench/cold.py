"""From the start of a process to its first verdict, part by part, in fresh processes.

The first process hashes the weights and reads the prompt's constant part; the others find the
weights verified and the prefix saved, as every later start of a host does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stepguard.bench.child import how_ended
from stepguard.bench.cold_probe import PARTS, START
from stepguard.bench.machine import Setup
from stepguard.bench.memory import settle
from stepguard.errors import StepguardError

INTERPRETER = "interpreter"
ALL_PARTS = (INTERPRETER, *PARTS)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Start:
    """One process. total: milliseconds until the verdict. tokens: that were read.

    ms, cpu_ms: of each part. CPU time is that of all threads, and hardly longer beside other
    programs; that of the imports holds the interpreter's.
    """

    total: float
    ms: dict[str, float]
    cpu_ms: dict[str, float]
    tokens: int


@dataclass(frozen=True)
class Cold:
    """The first start of a new model, and those after it."""

    first: Start
    later: list[Start]
    setup: Setup

    def median(self, part: str) -> float:
        """Milliseconds of a part, or of all of them ("")."""
        return statistics.median(_of(start, part) for start in self.later)

    def spread(self, part: str) -> tuple[float, float]:
        """The least and the most of these."""
        values = [_of(start, part) for start in self.later]
        return min(values), max(values)

    def cpu_median(self, part: str) -> float:
        """Milliseconds of CPU time of a part, or of all of them ("")."""
        each = (start.cpu_ms for start in self.later)
        return statistics.median(cpu[part] if part else sum(cpu.values()) for cpu in each)

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "first": dataclasses.asdict(self.first),
            "later": [dataclasses.asdict(start) for start in self.later],
            "median_ms": {part: self.median(part) for part in ALL_PARTS},
            "median_cpu_ms": {part: self.cpu_median(part) for part in PARTS},
        }


def _of(start: Start, part: str) -> float:
    return start.ms[part] if part else start.total


def measure_cold(
    model: Path,
    text: str,
    *,
    runs: int,
    options: Mapping[str, object],
    from_disk: bool = False,
    progress: Progress | None = None,
) -> Cold:
    """Starts 1 + `runs` processes, each of which loads `model` and judges `text` as a step.

    options: of `Guard.load`. from_disk: the weights are not in the system's page cache when a
    process starts.

    Raises:
        StepguardError: a process failed, which says why on standard error, or its verdict was
            unavailable.
    """
    settle(model / "weights.bin")
    question = {"model": str(model), "options": dict(options), "text": text}
    starts: list[Start] = []
    with tempfile.TemporaryDirectory(prefix="stepguard-") as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        for run in range(1 + runs):
            if from_disk:
                drop_pages(model.iterdir())
            start, setup = _start(question, environment)
            starts.append(start)
            if progress is not None:
                progress(run + 1, 1 + runs)
    return Cold(starts[0], starts[1:], setup)


def drop_pages(files: Iterable[Path]) -> None:
    """Asks the system to forget what it holds of these files; it may refuse where they are used."""
    for file in files:
        with contextlib.suppress(OSError):
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def _start(question: Mapping[str, object], environment: Mapping[str, str]) -> tuple[Start, Setup]:
    command = [sys.executable, "-c", START, json.dumps(question)]
    began = time.monotonic()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env=dict(environment), check=False
    )
    if done.returncode:
        got = how_ended(done.returncode)
        raise StepguardError(str(question["model"]), expected="a verdict", got=got)
    answer = json.loads(done.stdout)
    if answer["reason"]:
        got = f"unavailable({answer['reason']})"
        raise StepguardError(str(question["model"]), expected="a verdict", got=got)
    # The monotonic clock of Linux is one for all processes.
    before = 1000 * (answer["begun"] - began)
    start = Start(
        1000 * (answer["done"] - began),
        {INTERPRETER: before, **answer["ms"]},
        answer["cpu_ms"],
        answer["tokens"],
    )
    return start, Setup(**answer["setup"])
