"""LoRA adapters in PEFT's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

Array = npt.NDArray[np.float32]


def write_adapter(
    folder: Path, shapes: dict[str, tuple[int, int]], seed: int = 0, **config: Any
) -> dict[str, Array]:
    """Writes a random adapter of rank 3 for matrices by name; returns B @ A of each, unscaled."""
    folder.mkdir(parents=True, exist_ok=True)
    generator, tensors, products = np.random.default_rng(seed), {}, {}
    for name, (n, k) in shapes.items():
        a = generator.standard_normal((3, k)).astype(np.float32) / np.float32(k**0.5)
        b = generator.standard_normal((n, 3)).astype(np.float32)
        tensors[f"base_model.model.{name}.lora_A.weight"] = a
        tensors[f"base_model.model.{name}.lora_B.weight"] = b
        products[name] = b @ a
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 3, "lora_alpha": 6, "bias": "none"} | config
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return products
