"""A host process for `bench neighbours`: loops of NumPy and PyTorch, with or without a guard.

`python -m stepguard.bench.neighbour_probe [MODEL THREADS]` reads lines `TASK AMOUNT` and answers
each with a number: milliseconds of a loop of so many products of matrices, or CPU seconds of the
process while it slept for so many seconds.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stepguard import Guard, Step
from stepguard.errors import StepguardError

_SIZE = 384


class Probe:
    """Such a process, from the outside."""

    def __init__(self, folder: Path | None = None, threads: int | None = None) -> None:
        words = [] if folder is None else [str(folder), str(threads or 0)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stepguard.bench.neighbour_probe", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()  # it is ready

    def ask(self, task: str, amount: float) -> float:
        """What it answers to a line. Raises StepguardError when it ended."""
        assert self._process.stdin is not None  # it is a pipe
        with contextlib.suppress(BrokenPipeError):  # then no answer comes, which is said
            print(task, amount, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> float:
        assert self._process.stdout is not None  # it is a pipe
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise StepguardError(
                "a measuring process", expected="an answer", got=f"its end with status {status}"
            )
        return float(line)

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def numpy_loop(products: float) -> float:
    """Milliseconds of products of small matrices."""
    matrix = np.full((_SIZE, _SIZE), 1 / _SIZE, np.float32)
    return _timed(lambda: matrix @ matrix, int(products))


def torch_loop(products: float) -> float:
    """The same with PyTorch, on its own threads."""
    import torch

    matrix = torch.full((_SIZE, _SIZE), 1 / _SIZE)
    return _timed(lambda: matrix @ matrix, int(products))


def idle(seconds: float) -> float:
    """CPU seconds of the whole process while it sleeps."""
    started = time.process_time()
    time.sleep(seconds)
    return time.process_time() - started


TASKS: dict[str, Callable[[float], float]] = {
    "numpy": numpy_loop,
    "torch": torch_loop,
    "idle": idle,
}


def _timed(product: Callable[[], object], products: int) -> float:
    started = time.perf_counter()
    for _ in range(products):
        product()
    return (time.perf_counter() - started) * 1000


def main(words: list[str]) -> None:
    """Loads the guard, lets it judge once, then answers line after line."""
    guard = None
    if words:
        guard = Guard.load(words[0], threads=int(words[1]) or None)
        with guard.session() as session:
            session.push(Step.agent(thought="", action="ls()"))
    print(0, flush=True)
    for line in sys.stdin:
        task, amount = line.split()
        print(TASKS[task](float(amount)), flush=True)
    if guard is not None:
        guard.close()


if __name__ == "__main__":
    main(sys.argv[1:])
