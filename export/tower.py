"""What of a checkpoint a guard uses: its text tower, under the names of a text-only checkpoint."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from stepguard.errors import ExportError, ModelFormatError

from .checkpoint import Checkpoint
from .fields import Fields
from .hybrid import GGUF_RECURRENT
from .tensors import TensorStore

_MODEL_TYPES = ("qwen3_5", "qwen3_5_text")
_KINDS = ("Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM")
_TOWER, _TEXT = "model.language_model.", "model."
_DROPPED = {"model.visual.": "vision", "mtp.": "multi-token prediction"}

log = logging.getLogger("stepguard.export")


def text_tower(checkpoint: Checkpoint) -> Checkpoint:
    """The same checkpoint where it is text-only; else without what a guard does not use.

    Raises ExportError for another task of the architecture, ModelFormatError for a configuration
    of the text that is missing.
    """
    config = checkpoint.config
    if checkpoint.form == "gguf":
        return _without_prediction(checkpoint)
    if config.get("model_type") not in _MODEL_TYPES:
        return checkpoint
    kinds = config.get("architectures") or []
    if not set(kinds) <= set(_KINDS):
        raise ExportError(
            "config.json: architectures", expected=" or ".join(_KINDS), got=repr(kinds)
        )
    if config["model_type"] == "qwen3_5":
        text = config.get("text_config")
        if not isinstance(text, dict):
            raise ModelFormatError(
                "config.json: text_config", expected="an object", got=type(text).__name__
            )
        outer = {key: value for key, value in config.items() if not key.endswith("_config")}
        config = outer | text | {"architectures": ["Qwen3_5ForCausalLM"]}
        # The tables belong to the whole model, so its own switch counts.
        if "tie_word_embeddings" in outer:
            config["tie_word_embeddings"] = outer["tie_word_embeddings"]
    return dataclasses.replace(checkpoint, config=config, store=_text_only(checkpoint.store))


def text_name(name: str) -> str:
    """The name of a tensor in a text-only checkpoint."""
    return _TEXT + name.removeprefix(_TOWER) if name.startswith(_TOWER) else name


def _text_only(store: TensorStore) -> TensorStore:
    tensors = {}
    counts = dict.fromkeys(_DROPPED, 0)
    for name, info in store.tensors.items():
        prefix = next((prefix for prefix in _DROPPED if name.startswith(prefix)), None)
        if prefix is None:
            tensors[text_name(name)] = info
        else:
            counts[prefix] += 1
    for prefix, count in counts.items():
        if count:
            log.info("%d tensors of %s are dropped (%s*)", count, _DROPPED[prefix], prefix)
    return TensorStore(tensors)


def _without_prediction(checkpoint: Checkpoint) -> Checkpoint:
    """A GGUF file without the blocks at its end that predict further tokens."""
    name = checkpoint.config.get("general.architecture")
    fields = Fields("GGUF metadata", checkpoint.config)
    if not checkpoint.config.get(f"{name}.nextn_predict_layers"):
        return checkpoint
    blocks, extra = (
        fields.layers(f"{name}.{key}") for key in ("block_count", "nextn_predict_layers")
    )
    if extra >= blocks:
        raise fields.bad(f"{name}.nextn_predict_layers", f"less than block_count {blocks}")
    config: dict[str, Any] = checkpoint.config | {f"{name}.block_count": blocks - extra}
    recurrent = config.get(f"{name}.{GGUF_RECURRENT}")
    if isinstance(recurrent, list):
        config[f"{name}.{GGUF_RECURRENT}"] = recurrent[: blocks - extra]
    prefixes = tuple(f"blk.{block}." for block in range(blocks - extra, blocks))
    tensors = checkpoint.store.tensors
    kept = {key: info for key, info in tensors.items() if not key.startswith(prefixes)}
    count = len(tensors) - len(kept)
    log.info("%d tensors of multi-token prediction are dropped (%s*)", count, prefixes[0])
    return dataclasses.replace(checkpoint, config=config, store=TensorStore(kept))
