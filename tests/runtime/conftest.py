"""Small random models of odd shapes, made once per run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepguard.export import export_model
from tests.cpp_kernels.kernel_build import build, missing_tool
from tests.export.tiny import make_checkpoint


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model directories of one random checkpoint, by quantisation."""
    return _models(tmp_path_factory.mktemp("tiny"), ("float32", "int8", "int4"), "qwen3")


@pytest.fixture(scope="session")
def hybrid_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model directories of one random hybrid, by quantisation: its States need slots."""
    return _models(
        tmp_path_factory.mktemp("hybrid"),
        ("int8", "int4"),
        "qwen3_5_text",
        num_hidden_layers=3,
        layer_types=["linear_attention", "full_attention", "linear_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=12,
        linear_value_head_dim=10,
        max_position_embeddings=4096,
        head_dim=24,
    )


@pytest.fixture(scope="session")
def emulated() -> str:
    """Path of the library of GPU kernels that runs on the host."""
    missing = missing_tool()
    if missing is not None:
        pytest.skip(f"building the kernels needs {missing}")
    return str(build() / "libstepguard_cuda_emulated.so")


def _models(folder: Path, quants: tuple[str, ...], arch: str, **shape: Any) -> dict[str, Path]:
    checkpoint = make_checkpoint(folder / "checkpoint", arch, seed=5, **shape)
    models = {}
    for quant in quants:
        models[quant] = folder / quant
        export_model(checkpoint, models[quant], quant=quant, template="short", rationale=True)
    return models
