"""The adapter: PEFT's LoRA on the matrices of the top layers, in PEFT's own files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stepguard.errors import TrainingError
from stepguard.train.lora.base import Base
from stepguard.train.lora.settings import Settings

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
# Of every layer. Embeddings and output rows stay: a guard reads them in float32, as they are.
_MATRICES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Adapter:
    """What learns. It changes the layers of the base in place: a base takes one adapter."""

    def __init__(self, base: Base, settings: Settings) -> None:
        if settings.layers > base.layers:
            raise TrainingError(
                "train-layers", expected=f"at most {base.layers}", got=str(settings.layers)
            )
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=_MATRICES,
            layers_to_transform=list(range(base.layers - settings.layers, base.layers)),
            bias="none",
            task_type="CAUSAL_LM",
        )
        torch.manual_seed(settings.seed)  # PEFT draws A; B begins as zero
        self._model: Any = get_peft_model(base.model, config)
        self._config: Any = config
        self._name = base.name

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """What learns, by name, in the order of the names."""
        named = self._model.named_parameters()
        return dict(sorted((name, one) for name, one in named if one.requires_grad))

    def train(self, learns: bool) -> None:
        """Switches dropout on or off."""
        self._model.train(learns)

    def save(self, folder: Path) -> None:
        """Writes the two files that PEFT and `stepguard export --adapter` read."""
        config = self._config.to_dict() | {
            "base_model_name_or_path": self._name,
            "inference_mode": True,
        }
        text = json.dumps(config, indent=2, sort_keys=True, default=_plain)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
        state = get_peft_model_state_dict(self._model, save_embedding_layers=False)
        save_file({name: one.contiguous() for name, one in state.items()}, folder / WEIGHTS)

    def load(self, folder: Path) -> None:
        """Takes the values of a saved adapter of the same settings.

        Raises:
            TrainingError: it is of another shape, or cannot be read.
        """
        self.take(read_weights(folder), str(folder))

    def take(self, state: Mapping[str, Tensor], where: str) -> None:
        """The same, of values that were read already."""
        own = get_peft_model_state_dict(self._model, save_embedding_layers=False)
        found = {name: tuple(one.shape) for name, one in state.items()}
        if found != {name: tuple(one.shape) for name, one in own.items()}:
            expected, got = f"{len(own)} matrices of this adapter", f"{len(found)} others"
            raise TrainingError(where, expected=expected, got=got)
        set_peft_model_state_dict(self._model, dict(state))


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The matrices of a saved adapter.

    Raises:
        TrainingError: the file is missing, or is no file of safetensors.
    """
    path = folder / WEIGHTS
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        expected = "an adapter, as PEFT saves it"
        raise TrainingError(str(path), expected=expected, got=str(error)[:200]) from error


def _plain(value: object) -> object:
    """Sets and enumerations of a PEFT configuration as JSON."""
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
