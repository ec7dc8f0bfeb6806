"""Rotary frequencies against transformers, and the kinds that are refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from stepguard.errors import ExportError, ModelFormatError
from stepguard.export.rope import check_scaling, inverse_frequencies

LLAMA31 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@pytest.mark.parametrize("dim", [20, 64, 128])
@pytest.mark.parametrize("scaling", [{}, {"rope_type": "linear", "factor": 4.0}, LLAMA31])
def test_equal_to_transformers(dim: int, scaling: dict[str, Any]) -> None:
    rope = {"rope_type": "default", "rope_theta": 500000.0} | scaling
    config = LlamaConfig(
        hidden_size=dim * 2, num_attention_heads=2, head_dim=dim, rope_parameters=rope
    )
    expected = LlamaRotaryEmbedding(config).inv_freq.numpy()
    found = inverse_frequencies(500000.0, dim, check_scaling("config", scaling, 131072))
    assert found.dtype == np.float32
    # transformers computes in float32, whose powers are off by a few units in the last place.
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_factors_of_a_gguf_file_divide() -> None:
    plain = inverse_frequencies(10000.0, 8, None)
    factors = np.array([1.0, 1.0, 2.0, 8.0], np.float32)
    found = inverse_frequencies(10000.0, 8, None, factors)
    np.testing.assert_allclose(found, plain / factors, rtol=1e-7)


def test_llama3_takes_the_context_when_the_original_is_not_stated() -> None:
    given = {key: value for key, value in LLAMA31.items() if not key.startswith("original")}
    scaling = check_scaling("config", given, 4096)
    assert scaling is not None
    assert scaling["original_max_position_embeddings"] == 4096


@pytest.mark.parametrize("kind", ["yarn", "dynamic", "longrope", "su"])
def test_other_kinds_are_refused_by_name(kind: str) -> None:
    for key in ("rope_type", "type"):
        with pytest.raises(ExportError, match=f"got '{kind}'"):
            check_scaling("config.json", {key: kind, "factor": 2.0}, 4096)


def test_partial_rotation_is_refused() -> None:
    with pytest.raises(ExportError, match="partial_rotary_factor"):
        check_scaling("config.json", {"partial_rotary_factor": 0.5}, 4096)


@pytest.mark.parametrize("factor", [None, "8", 0, -1.0, float("inf"), True])
def test_a_wrong_factor(factor: object) -> None:
    with pytest.raises(ModelFormatError, match="factor: expected a positive number"):
        check_scaling("config.json", {"rope_type": "linear", "factor": factor}, 4096)
