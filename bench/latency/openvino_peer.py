"""OpenVINO: its states are copied before the question, and put back after it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov

from stepguard.bench.latency.openvino_export import MODEL
from stepguard.bench.latency.peer import Ids, InTurn, Logits, Peer, Setting

# Its cache of keys is in 8 bits unless a model says otherwise, which optimum-intel's float ones do.
_CONFIG = {"PERFORMANCE_HINT": "LATENCY", "KV_CACHE_PRECISION": "u8"}

_RECURRENT = (".conv.", ".ssm.")  # in names of states

# Name of a state -> its tensor.
States = dict[str, ov.Tensor]


@dataclass
class _Session:
    """One request, which holds the states of a path, and how many tokens they have read."""

    request: ov.InferRequest
    length: int = 0


class OpenVino(InTurn):
    """A folder that `openvino_export` made: int4, the head for the last position only."""

    def __init__(self, setting: Setting) -> None:
        told = {"INFERENCE_NUM_THREADS": setting.threads, **_CONFIG}
        self._model = ov.Core().compile_model(setting.files / MODEL, "CPU", told)
        self._inputs = {port.get_any_name() for port in self._model.inputs}
        self._rows = setting.rows
        self._session = self._long = self._new()
        self._base: States = {}
        self._sessions: list[tuple[_Session, States]] = []
        self.version = ov.__version__.partition("-")[0]

    def read(self, ids: Ids) -> None:
        self._session = self._new()
        self._run(ids)
        self._base = self._states()

    def step(self, ids: Ids, question: Ids) -> tuple[float, Logits]:
        base = self._session.length
        started = time.perf_counter()
        self._run(ids)
        kept, length = self._states(), self._session.length
        logits = self._run(question)
        self._back(kept, length)
        elapsed = (time.perf_counter() - started) * 1000
        self._back(self._base, base)
        return elapsed, logits

    def again(self, ids: Ids) -> tuple[float, Logits]:
        self._session = self._new()
        started = time.perf_counter()
        logits = self._run(ids)
        return (time.perf_counter() - started) * 1000, logits

    def add(self, ids: Ids) -> None:
        self.read(ids)
        self._sessions.append((self._session, self._base))

    def use(self, session: int) -> None:
        self._session, self._base = self._sessions[session]

    def beside(self, ids: Ids, first: bool) -> None:
        mine = self._session
        self._session = self._long = self._new() if first else self._long
        self._run(ids)
        self._session = mine

    def _new(self) -> _Session:
        return _Session(self._model.create_infer_request())

    def _run(self, ids: Ids) -> Logits:
        session, count = self._session, len(ids)
        end = session.length + count
        told = {
            "input_ids": ids[None].astype(np.int64),
            "attention_mask": np.ones((1, end), np.int64),
            "position_ids": np.arange(session.length, end, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        known = {name: value for name, value in told.items() if name in self._inputs}
        session.request.infer(known, share_inputs=True)
        session.length = end
        logits: Any = session.request.get_output_tensor(0).data
        wanted: Logits = logits[0, -1][self._rows]
        return wanted

    def _states(self) -> States:
        """Copies. A cache of keys or values gives one anyway; the others give what they work on."""
        states = self._session.request.query_state()
        return {s.name: _copied(s.name, s.state) for s in states}

    def _back(self, states: States, length: int) -> None:
        for state in self._session.request.query_state():
            state.state = states[state.name]
        self._session.length = length


def _copied(name: str, tensor: ov.Tensor) -> ov.Tensor:
    if not any(part in name for part in _RECURRENT):
        return tensor
    copied = ov.Tensor(tensor.element_type, tensor.shape)
    tensor.copy_to(copied)
    return copied


def make(setting: Setting) -> Peer:
    return OpenVino(setting)
