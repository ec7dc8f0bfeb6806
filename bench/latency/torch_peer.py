"""transformers on torch: the cache is copied before the question."""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM

from stepguard.bench.latency.peer import Ids, InTurn, Logits, Peer, Setting


class Transformers(InTurn):
    """A Hugging Face folder, in bfloat16 on a GPU and where the CPU multiplies that in tiles."""

    def __init__(self, setting: Setting) -> None:
        torch.set_num_threads(setting.threads)
        self._device = setting.options.get("device", "cpu")
        if self._device == "cuda" and not torch.cuda.is_available():
            raise ImportError(f"torch {torch.__version__} finds no GPU")
        tiles = self._device == "cuda" or torch.cpu._is_amx_tile_supported()
        kind = torch.bfloat16 if tiles else torch.float32
        models: Any = AutoModelForCausalLM
        self._model = models.from_pretrained(setting.files, dtype=kind).eval()
        self._model = self._model.to(self._device)
        self._rows = torch.from_numpy(setting.rows.astype(np.int64)).to(self._device)
        self._cache: Any = None
        self._long: Any = None
        self._sessions: list[Any] = []
        self.version = f"{transformers.__version__}, torch {torch.__version__} ({kind})"

    def read(self, ids: Ids) -> None:
        self._cache, _ = self._run(ids, None)

    def step(self, ids: Ids, question: Ids) -> tuple[float, Logits]:
        cache = copy.deepcopy(self._cache)
        started = time.perf_counter()
        cache, _ = self._run(ids, cache)
        _, logits = self._run(question, copy.deepcopy(cache))
        return (time.perf_counter() - started) * 1000, logits

    def again(self, ids: Ids) -> tuple[float, Logits]:
        started = time.perf_counter()
        _, logits = self._run(ids, None)
        return (time.perf_counter() - started) * 1000, logits

    def add(self, ids: Ids) -> None:
        self.read(ids)
        self._sessions.append(self._cache)

    def use(self, session: int) -> None:
        self._cache = self._sessions[session]

    def beside(self, ids: Ids, first: bool) -> None:
        self._long, _ = self._run(ids, None if first else self._long)

    @torch.inference_mode()
    def _run(self, ids: Ids, cache: Any) -> tuple[Any, Logits]:
        tokens = torch.from_numpy(ids.astype(np.int64))[None].to(self._device)
        out = self._model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits: Logits = out.logits[0, -1, self._rows].float().cpu().numpy()  # waits for a GPU
        return out.past_key_values, logits


def make(setting: Setting) -> Peer:
    return Transformers(setting)
