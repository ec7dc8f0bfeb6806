"""llama.cpp through llama-cpp-python's C functions: a sequence is forked for the question."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import llama_cpp as api
import numpy as np

from stepguard.bench.latency.peer import Ids, InTurn, Logits, Peer, Setting, gpu_layers
from stepguard.errors import StepguardError
from stepguard.harmless import plain_lines

_BATCH, _MICRO_BATCH = 2048, 512
_ERROR = 4  # of its levels of logging


@api.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _: object) -> None:
    """Errors only: it tells of every tensor otherwise."""
    if level == _ERROR:
        sys.stderr.write(plain_lines(text.decode(errors="replace")))


@dataclass(frozen=True)
class Part:
    """Tokens of one sequence in a batch, and the position of the first."""

    ids: Ids
    position: int
    sequence: int


class LlamaCpp(InTurn):
    """A GGUF file. Its weights are repacked for this CPU at load, as it does by itself; on a GPU it
    has all layers there.

    Sequences, for n sessions: 0 to n-1 what was read, n to 2n-1 what is read with the step, 2n to
    3n-1 the questions behind it, 3n the long text beside. One session's share a cache of cells, so
    that a fork copies no keys; several have one each, since every token looks at all cells of its
    cache.
    """

    ways = ("together", "in turn")

    def __init__(self, setting: Setting) -> None:
        api.llama_log_set(_log, None)
        api.llama_backend_init()
        model = api.llama_model_default_params()
        model.n_gpu_layers = gpu_layers(
            setting.options.get("device", "cpu"), api.llama_supports_gpu_offload()
        )
        self._model = api.llama_model_load_from_file(str(setting.files).encode(), model)
        if not self._model:
            raise StepguardError("llama.cpp", expected="a model it can load", got="an error")
        self._most = int(setting.options.get("sessions", 1))
        context = api.llama_context_default_params()
        context.n_seq_max = 3 * self._most + 1
        context.kv_unified = self._most == 1
        context.n_ctx = (setting.room + 512) * (1 if context.kv_unified else context.n_seq_max)
        context.n_batch, context.n_ubatch = _BATCH, _MICRO_BATCH
        context.n_threads = context.n_threads_batch = setting.threads
        self._context = api.llama_init_from_model(self._model, context)
        self._memory = api.llama_get_memory(self._context)
        vocabulary = api.llama_model_get_vocab(self._model)
        self._vocabulary = api.llama_vocab_n_tokens(vocabulary)
        self._rows = setting.rows
        self._lengths: list[int] = []
        self._session, self._long = 0, 0
        self.version = api.__version__

    def read(self, ids: Ids) -> None:
        api.llama_memory_clear(self._memory, True)
        self._lengths = []
        self.add(ids)

    def add(self, ids: Ids) -> None:
        self._session = len(self._lengths)
        self._read(ids, 0, self._session)
        self._lengths.append(len(ids))

    def use(self, session: int) -> None:
        self._session = session

    def beside(self, ids: Ids, first: bool) -> None:
        sequence = 3 * self._most
        if first:
            api.llama_memory_seq_rm(self._memory, sequence, -1, -1)
            self._long = 0
        self._read(ids, self._long, sequence)
        self._long += len(ids)

    def step(self, ids: Ids, question: Ids) -> tuple[float, Logits]:
        elapsed, logits = self._fork([self._session], [ids], question)
        return elapsed, logits[0]

    def again(self, ids: Ids) -> tuple[float, Logits]:
        api.llama_memory_clear(self._memory, True)
        started = time.perf_counter()
        logits = self._read(ids, 0, 0)
        return (time.perf_counter() - started) * 1000, logits

    def round(self, way: str, steps: Sequence[Ids], question: Ids) -> tuple[list[float], Logits]:
        if way == "in turn":
            return super().round(way, steps, question)
        elapsed, logits = self._fork(range(len(steps)), steps, question)
        return [elapsed] * len(steps), logits

    def _fork(
        self, sessions: Sequence[int], steps: Sequence[Ids], question: Ids
    ) -> tuple[float, Logits]:
        """All steps in one batch, then all questions in one. logits: [sessions, r]."""
        memory, count = self._memory, self._most
        # A session would go on in its own sequence: going back to the base is not timed.
        for session in sessions:
            api.llama_memory_seq_cp(memory, session, count + session, -1, -1)
        ends = [self._lengths[session] for session in sessions]
        started = time.perf_counter()
        self._decode(
            [Part(s, e, count + n) for s, e, n in zip(steps, ends, sessions, strict=True)], False
        )
        ends = [end + len(step) for end, step in zip(ends, steps, strict=True)]
        for session in sessions:
            api.llama_memory_seq_cp(memory, count + session, 2 * count + session, -1, -1)
        logits = self._decode(
            [Part(question, e, 2 * count + n) for e, n in zip(ends, sessions, strict=True)], True
        )
        for session in sessions:
            api.llama_memory_seq_rm(memory, 2 * count + session, -1, -1)
        elapsed = (time.perf_counter() - started) * 1000
        for session in sessions:
            api.llama_memory_seq_rm(memory, count + session, -1, -1)
        return elapsed, logits

    def _read(self, ids: Ids, position: int, sequence: int) -> Logits:
        """The logits after the last of `ids`."""
        for begin in range(0, len(ids), _BATCH):
            part = Part(ids[begin : begin + _BATCH], position + begin, sequence)
            logits = self._decode([part], begin + _BATCH >= len(ids))
        last: Logits = logits[0]
        return last

    def _decode(self, parts: Sequence[Part], answer: bool) -> Logits:
        """Logits [parts, r] after the last token of each, or [0, r] where no answer is wanted."""
        tokens = sum(len(part.ids) for part in parts)
        if tokens > _BATCH:
            raise StepguardError("llama.cpp", expected=f"at most {_BATCH} tokens", got=str(tokens))
        batch, at, last = api.llama_batch_init(tokens, 0, 1), 0, []
        batch.n_tokens = tokens
        for part in parts:
            for i, token in enumerate(part.ids.tolist()):
                batch.token[at], batch.pos[at] = token, part.position + i
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, part.sequence
                batch.logits[at] = int(answer and i == len(part.ids) - 1)
                at += 1
            last.append(at - 1)
        status = api.llama_decode(self._context, batch)
        api.llama_batch_free(batch)
        if status:
            raise StepguardError("llama.cpp", expected="a decoded batch", got=f"status {status}")
        api.llama_synchronize(self._context)
        found = [self._logits(index) for index in last if answer]
        return np.stack(found) if found else np.empty((0, len(self._rows)), np.float32)

    def _logits(self, index: int) -> Logits:
        pointer: Any = api.llama_get_logits_ith(self._context, index)
        row: Logits = np.ctypeslib.as_array(pointer, shape=(self._vocabulary,))
        wanted: Logits = row[self._rows]  # a copy: the memory is llama.cpp's
        return wanted


def make(setting: Setting) -> Peer:
    return LlamaCpp(setting)
