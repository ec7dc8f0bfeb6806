"""An engine in a process of its own, as the measurement sees it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from stepguard.bench.child import how_ended
from stepguard.bench.latency.peer import Ids, Logits, Rounds
from stepguard.errors import StepguardError

FIX = "Type: pip install 'stepguard[bench,peers]'"


class LostPeer(StepguardError):
    """It is there, but ended or failed. Where it is not ours, the others are measured."""


class MissingPeer(LostPeer):
    """Its package is not installed; never leaves the benchmark."""


class Remote:
    """Calls are as in `Peer`. Use it as a context manager, which ends the process."""

    def __init__(
        self,
        name: str,
        files: Path,
        rows: Ids,
        *,
        threads: int,
        room: int,
        options: dict[str, Any] | None = None,
        tokenizer: Path | None = None,
    ) -> None:
        """Starts the process and loads the model, and a tokenizer.json where one is given.

        Raises:
            MissingPeer: the engine is not installed.
            LostPeer: it cannot load the model, or its process ended.
        """
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stepguard.bench.latency.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            answer = self._call(
                do="load",
                name=name,
                files=str(files),
                rows=rows.tolist(),
                threads=threads,
                room=room,
                options=options or {},
                tokenizer=str(tokenizer or ""),
            )
        except BaseException:
            self.close(0)
            raise
        self.version: str = answer["version"]
        self.ways: list[str] = answer["ways"]

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def read(self, ids: Ids) -> None:
        """Reads the context."""
        self._call(do="read", ids=ids.tolist())

    def step(self, ids: Ids, question: Ids) -> tuple[float, Logits]:
        """(milliseconds, logits) of a step verdict."""
        return _timed(self._call(do="step", ids=ids.tolist(), question=question.tolist()))

    def again(self, ids: Ids) -> tuple[float, Logits]:
        """(milliseconds, logits) of reading everything from nothing."""
        return _timed(self._call(do="again", ids=ids.tolist()))

    def add(self, ids: Ids) -> None:
        """Reads the context of one more session."""
        self._call(do="add", ids=ids.tolist())

    def rounds(
        self, way: str, steps: Sequence[Ids], question: Ids, count: int, long: Ids
    ) -> Rounds:
        """Step verdicts in several sessions."""
        lists = {"steps": [step.tolist() for step in steps], "question": question.tolist()}
        answer = self._call(do="rounds", way=way, count=count, long=long.tolist(), **lists)
        logits = np.array(answer["logits"], np.float32)
        return Rounds(answer["elapsed"], answer["latencies"], logits)

    def profile(self, ids: Ids, question: Ids) -> dict[str, float]:
        """Milliseconds of each operation of a step verdict, of an engine that tells."""
        answer = self._call(do="profile", ids=ids.tolist(), question=question.tolist())
        return {name: float(ms) for name, ms in answer.items()}

    def resident(self) -> tuple[int, int]:
        """Bytes that its process has resident now, freed memory given back, and the most so far."""
        answer = self._call(do="resident")
        return answer["resident"], answer["peak"]

    def close(self, patience: float = 10) -> None:
        """Ends the process, by force where that takes more seconds than `patience`."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # what it was not there to read any more
                self._process.stdin.close()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Who is told to end does not wait for what is being computed.
        self.close(0 if kind is not None and not issubclass(kind, Exception) else 10)

    def _call(self, **call: object) -> dict[str, Any]:
        sender, receiver = self._process.stdin, self._process.stdout
        assert sender is not None
        assert receiver is not None
        try:
            sender.write(json.dumps(call) + "\n")
            sender.flush()
            line = receiver.readline()
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):  # nothing, or what a process that ended had written until then
            raise LostPeer(self.name, expected="an answer", got=self._end())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            if answer["missing"]:
                got = answer["error"]
                extra = "openvino" if self.name == "openvino" else "peers"
                fix = FIX.replace("peers", extra)
                raise MissingPeer(self.name, expected="an engine", got=got, fix=fix)
            raise LostPeer(self.name, expected="an answer", got=answer["error"])
        return answer

    def _end(self) -> str:
        """How a process ended that answers no more."""
        try:
            return how_ended(self._process.wait(10))
        except subprocess.TimeoutExpired:
            return "nothing, and its process goes on"


def _timed(answer: dict[str, Any]) -> tuple[float, Logits]:
    return answer["ms"], np.array(answer["logits"], np.float32)
