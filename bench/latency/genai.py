"""onnxruntime-genai: a snapshot before the question, and a rewind after it."""

from __future__ import annotations

import json
import time

import numpy as np
import onnxruntime_genai as og

from stepguard.bench.latency.peer import Ids, InTurn, Logits, Peer, Setting

# So many tokens may stay behind from earlier steps before the context is read again.
_GROWTH = 256


class GenAi(InTurn):
    """A folder that its model builder made: int4, the head for the last position only."""

    def __init__(self, setting: Setting) -> None:
        config = og.Config(str(setting.files))
        threads = {"intra_op_num_threads": setting.threads}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": threads}}}))
        self._model = og.Model(config)
        self._rows, self._room = setting.rows, setting.room
        # A recurrent layer can only go back to a snapshot; a cache of keys can be cut anywhere.
        self._recurrent = bool(setting.options.get("recurrent"))
        self._context: Ids = np.empty(0, np.int32)
        self._sessions: list[tuple[og.Generator, Ids]] = []
        self._session: int | None = None
        self.version = og.__version__

    def read(self, ids: Ids) -> None:
        self._context = ids
        self._generator = self._new()
        self._append(ids)
        self._mark()
        if self._session is not None:
            self._sessions[self._session] = (self._generator, ids)

    def step(self, ids: Ids, question: Ids) -> tuple[float, Logits]:
        base = self._generator.token_count()
        started = time.perf_counter()
        self._append(ids)
        self._mark()
        kept = self._generator.token_count()
        self._append(question)
        logits = self._logits()
        self._generator.rewind_to(kept)
        elapsed = (time.perf_counter() - started) * 1000
        self._back(base)
        return elapsed, logits

    def again(self, ids: Ids) -> tuple[float, Logits]:
        self._generator = self._new()
        started = time.perf_counter()
        self._append(ids)
        logits = self._logits()
        return (time.perf_counter() - started) * 1000, logits

    def add(self, ids: Ids) -> None:
        self._session = None
        self.read(ids)
        self._sessions.append((self._generator, ids))

    def use(self, session: int) -> None:
        self._session = session
        self._generator, self._context = self._sessions[session]

    def beside(self, ids: Ids, first: bool) -> None:
        if first:
            self._long = self._new()
        self._long.append_tokens(np.ascontiguousarray(ids[None], np.int32))

    def _back(self, base: int) -> None:
        """To where the step began.

        A snapshot replaces the one before it, so a recurrent model would have to read everything
        again: it stays, and stands on a slightly longer context the next time.
        """
        if not self._recurrent:
            self._generator.rewind_to(base)
        elif self._generator.token_count() - len(self._context) >= _GROWTH:
            self.read(self._context)

    def _mark(self) -> None:
        if self._recurrent:
            self._generator.snapshot_state()

    def _new(self) -> og.Generator:
        parameters = og.GeneratorParams(self._model)
        parameters.set_search_options(max_length=self._room, batch_size=1, do_sample=False)
        return og.Generator(self._model, parameters)

    def _append(self, ids: Ids) -> None:
        self._generator.append_tokens(np.ascontiguousarray(ids[None], np.int32))

    def _logits(self) -> Logits:
        logits: Logits = np.asarray(self._generator.get_logits(), np.float32)
        wanted: Logits = logits.reshape(-1, logits.shape[-1])[-1][self._rows]
        return wanted


def make(setting: Setting) -> Peer:
    return GenAi(setting)
