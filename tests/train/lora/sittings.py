"""Runs on that base, and whether their checkpoints are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft")
torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from stepguard.train.lora.loop import Trainer  # noqa: E402
from tests.train.lora.runs import trainer  # noqa: E402

torch.set_num_threads(1)


def run(place: Path, out: Path, **settings: Any) -> Trainer:
    return trainer(
        place / "base", place / "data.jsonl", out, **{"dropout": 0.1, "batch": 2} | settings
    )


def weights(checkpoint: Path) -> dict[str, Any]:
    return load_file(checkpoint / "adapter_model.safetensors")


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
