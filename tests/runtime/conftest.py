"""A small random model of an odd shape, made once per run."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepguard.export import export_model
from tests.export.tiny import make_checkpoint


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model directories of one random checkpoint, by quantisation."""
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint = make_checkpoint(folder / "checkpoint", "qwen3", seed=5)
    models = {}
    for quant in ("float32", "int8", "int4"):
        models[quant] = folder / quant
        export_model(checkpoint, models[quant], quant=quant, template="short")
    return models
