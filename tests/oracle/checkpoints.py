"""Random models for comparisons, and the measure that shows that a comparison with them counts.

The usual small initialisation hides faults: with attention logits near zero, attention is an
average, and a model without rope passes. `spread` measures that attention logits range over
several units here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForCausalLM

from tests.export.tiny import make_checkpoint

VOCABULARY = 416


@dataclass(frozen=True)
class Case:
    """One random model; `config` are fields of the architecture's transformers configuration."""

    name: str
    architecture: str
    config: dict[str, Any]
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.architecture}-{self.name}"


def write_checkpoint(folder: Path, case: Case) -> Path:
    """Writes config.json, model.safetensors and the tokenizer; returns the folder."""
    return make_checkpoint(
        folder, case.architecture, case.seed, vocab_size=VOCABULARY, **case.config
    )


def load_reference(folder: Path) -> Any:
    """The transformers model of a checkpoint, float32, with the plain form of attention."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()


@dataclass(frozen=True)
class Spread:
    """Smallest mean standard deviation of attention logits over the layers that attend (infinite
    where none does), and of the outputs."""

    attention: float
    output: float


def spread(model: Any, ids: npt.NDArray[np.int32]) -> Spread:
    """Measures a model on one text: logits over the keys of a query, and over the vocabulary."""
    with torch.no_grad():
        out = model(
            torch.tensor(ids[None].astype(np.int64)), output_attentions=True, use_cache=False
        )
    layers = []
    for probability in out.attentions:  # the logarithm is the logit less a constant of the query
        logits = probability[0].double().clamp_min(1e-300).log()
        rows = [logits[:, t, : t + 1].std(dim=-1).mean() for t in range(16, len(ids))]
        layers.append(float(torch.stack(rows).mean()))
    return Spread(min(layers, default=float("inf")), float(out.logits[0].std(dim=-1).mean()))
