"""Forward passes over rows, layer by layer, and the loss at the places that are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stepguard.train.lora import fast
from stepguard.train.lora.rows import Choice, Row
from stepguard.train.lora.settings import Precision


def best_precision() -> Precision:
    """bf16 where this CPU multiplies it, else fp32."""
    able = torch.cpu.get_capabilities()
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


class Tower:
    """The layers of a causal model of transformers.

    precision: of matrix products. With bf16 the frozen matrices of the layers are rounded to it, in
    place; the residual stream, the norms, the adapter and the rows that labels are read with stay
    float32.
    """

    def __init__(self, model: Any, precision: Precision) -> None:
        self.precision, self._model = precision, model.model
        self.layers: Sequence[nn.Module] = model.model.layers
        self._rows: Tensor = model.get_output_embeddings().weight
        if precision == "bf16":
            for layer in self.layers:
                _round(layer)

    @property
    def hidden(self) -> int:
        """Width of a hidden row."""
        return int(self._rows.shape[1])

    def embed(self, row: Row) -> Tensor:
        """float32 [n, hidden]."""
        embedded: Tensor = self._model.embed_tokens(torch.from_numpy(row.ids))
        return embedded.float()

    def run(self, hidden: Tensor, row: Row, begin: int, end: int) -> Tensor:
        """float32 [n, hidden] before layer `begin` -> the same behind layer `end` - 1."""
        state = hidden[None]
        positions = torch.from_numpy(row.positions)[None]
        turned = self._model.rotary_emb(state, position_ids=positions)
        if self.precision == "bf16" and all(map(fast.able, self.layers[begin:end])):
            return self._run_fast(hidden, row, turned, begin, end)
        mask = None if row.plain else torch.from_numpy(row.sees())[None, None]
        with self._products():
            for layer in self.layers[begin:end]:
                state = layer(
                    state,
                    attention_mask=mask,
                    position_ids=positions,
                    position_embeddings=turned,
                    use_cache=False,
                )
        return state[0].float()

    def _run_fast(
        self, hidden: Tensor, row: Row, turned: tuple[Tensor, Tensor], begin: int, end: int
    ) -> Tensor:
        half = turned[0].shape[-1] // 2  # the second half says the same
        cos, sin = (one[0, :, :half].float() for one in turned)
        mask = fast.mask_of(row)
        for layer in self.layers[begin:end]:
            hidden = fast.run(layer, hidden, (cos, sin), mask, row.trunk)
        return hidden

    def read(self, hidden: Tensor, choices: Sequence[Choice]) -> list[Tensor]:
        """For each choice float32 [ids]: the logits of its rows. hidden: behind the last layer."""
        normed = self._model.norm(hidden[[choice.at for choice in choices]])
        return [
            row @ self._rows[list(choice.ids)].T
            for row, choice in zip(normed, choices, strict=True)
        ]

    @contextmanager
    def _products(self) -> Iterator[None]:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            yield


def log_likelihoods(logits: Sequence[Tensor], choices: Sequence[Choice]) -> Tensor:
    """float32 [choices]: of what is right, among what is told apart."""
    found = []
    for values, choice in zip(logits, choices, strict=True):
        right = [choice.ids.index(row) for row in choice.right]
        found.append(torch.logsumexp(values[right], 0) - torch.logsumexp(values, 0))
    return torch.stack(found)


def loss_of(tower: Tower, hidden: Tensor, row: Row, labels: float) -> Tensor:
    """The weighted sum over the prefixes of a row: minus the log likelihood of the verdict, and
    `labels` times that of a label, as a mean over the dimensions that are known."""
    choices: list[Choice] = []
    weights: list[float] = []
    for question in row.questions:
        choices.append(question.verdict)
        weights.append(question.weight)
        for dimension in question.labels:
            choices += dimension
            weights += [labels * question.weight / len(question.labels)] * len(dimension)
    found = log_likelihoods(tower.read(hidden, choices), choices)
    return -(found * torch.tensor(weights, dtype=torch.float32)).sum()


def margins_of(tower: Tower, hidden: Tensor, row: Row) -> np.ndarray:
    """float64 [questions]: logit of unsafe minus logit of safe, the spellings added."""
    verdicts = [question.verdict for question in row.questions]
    found = []
    for question, values in zip(row.questions, tower.read(hidden, verdicts), strict=True):
        choice, logits = question.verdict, values.double()
        right = [choice.ids.index(one) for one in choice.right]
        other = [place for place in range(len(choice.ids)) if place not in right]
        margin = torch.logsumexp(logits[right], 0) - torch.logsumexp(logits[other], 0)
        found.append(float(margin) if question.unsafe else -float(margin))
    return np.array(found, np.float64)


def _round(layer: nn.Module) -> None:
    for name, module in layer.named_modules():
        if isinstance(module, nn.Linear) and "lora_" not in name:
            module.to(torch.bfloat16)
