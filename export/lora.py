"""LoRA adapters of PEFT, merged row by row: W + scale * B @ A."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stepguard.errors import ExportError, ModelFormatError

from .safetensors_header import read_safetensors
from .tensors import Floats, TensorStore

_PREFIX = "base_model.model."
# Variants that change more than W + scale * B @ A, and the values that switch them off.
_VARIANTS: dict[str, tuple[object, ...]] = {
    "use_dora": (None, False),
    "use_qalora": (None, False),
    "use_bdlora": (None, False),
    "lora_bias": (None, False),
    "fan_in_fan_out": (None, False),
    "modules_to_save": (None, []),
    "target_parameters": (None, []),
    "trainable_token_indices": (None, [], {}),
    "layer_replication": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "alora_invocation_tokens": (None, []),
    "arrow_config": (None,),
    "bias": (None, "none"),
}


@dataclass(frozen=True)
class LowRank:
    """scale * B @ A of one matrix; B float32 [n, r], A float32 [r, k]."""

    b: Floats
    a: Floats
    scale: float

    def rows(self, begin: int, end: int) -> Floats:
        """Rows begin..end of the difference, float32 [end - begin, k].

        Summed in float64. Values of fp16 are whole multiples of 2^-24, so that their products and
        the sums of those are exact there (below 2^5): an adapter that is kept in fp16 gives the
        same bits on every machine, in whatever order its BLAS adds.
        """
        exact = self.b[begin:end].astype(np.float64) @ self.a.astype(np.float64)
        return (exact * self.scale).astype(np.float32)


def read_adapter(folder: Path) -> dict[str, LowRank]:
    """The differences by the name of their matrix (`model.layers.0.self_attn.q_proj`).

    Raises ExportError for what is not a plain LoRA, naming the variant.
    """
    config = _config(folder)
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise ExportError(
            str(folder),
            expected="adapter_model.safetensors",
            got="adapter_model.bin" if (folder / "adapter_model.bin").exists() else "none",
            fix="Save the adapter again with safe_serialization=True",
        )
    with TensorStore(read_safetensors(weights)) as store:
        return _pairs(store, _scale(config))


def check_fits(deltas: Mapping[str, LowRank], shapes: Mapping[str, tuple[int, int]]) -> None:
    """Raises ExportError unless every difference has a matrix of its shape; `shapes` are those."""
    for name, delta in deltas.items():
        got = (delta.b.shape[0], delta.a.shape[1])
        if name not in shapes:
            raise ExportError(
                f"adapter: {name}",
                expected=f"one of {', '.join(sorted({n.rpartition('.')[2] for n in shapes}))}",
                got="a matrix that this model lacks, or one that is tied",
                fix="Give the adapter's own base model",
            )
        if got != shapes[name]:
            raise ExportError(
                f"adapter: {name}",
                expected=f"{shapes[name][0]} x {shapes[name][1]}",
                got=f"{got[0]} x {got[1]}",
                fix="Give the adapter's own base model",
            )


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "adapter_config.json").read_bytes())
    except FileNotFoundError as error:
        raise ExportError(str(folder), expected="adapter_config.json", got="none") from error
    except ValueError as error:
        raise ModelFormatError("adapter_config.json", expected="JSON", got=str(error)) from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else config
        raise ExportError("adapter_config.json: peft_type", expected="LORA", got=repr(kind))
    for key, neutral in _VARIANTS.items():
        if config.get(key) not in neutral:
            raise ExportError(
                f"adapter_config.json: {key}",
                expected="a plain LoRA",
                got=f"{key} = {config[key]!r}",
                fix="Merge this adapter with PEFT (merge_and_unload) and export the result",
            )
    return config


def _scale(config: Mapping[str, Any]) -> float:
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or rank <= 0 or type(alpha) not in (int, float):
        raise ModelFormatError(
            "adapter_config.json", expected="r and lora_alpha", got=f"{rank!r} and {alpha!r}"
        )
    divisor = math.sqrt(rank) if config.get("use_rslora") else rank
    return float(alpha or 0) / divisor


def _pairs(store: TensorStore, scale: float) -> dict[str, LowRank]:
    stems: dict[str, set[str]] = {}
    for name in store.tensors:
        stem, _, kind = name.removesuffix(".weight").removeprefix(_PREFIX).rpartition(".")
        if kind not in ("lora_A", "lora_B") or not name.startswith(_PREFIX):
            raise ExportError(
                f"adapter: tensor {name}",
                expected=f"{_PREFIX}....lora_A.weight or lora_B.weight",
                got="another kind",
                fix="Merge this adapter with PEFT (merge_and_unload) and export the result",
            )
        stems.setdefault(stem, set()).add(kind)
    half = sorted(stem for stem, kinds in stems.items() if len(kinds) < 2)
    if half or not stems:
        raise ModelFormatError("adapter", expected="pairs of lora_A and lora_B", got=f"{half}")
    deltas = {}
    for stem in stems:
        a, b = (store.whole(f"{_PREFIX}{stem}.{kind}.weight") for kind in ("lora_A", "lora_B"))
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
            raise ModelFormatError(
                f"adapter: {stem}", expected="A [r, k], B [n, r]", got=f"{a.shape}, {b.shape}"
            )
        deltas[stem] = LowRank(b, a, scale)
    return deltas
