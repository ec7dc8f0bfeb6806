"""Random models of every architecture against transformers, and faults that must be seen."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.oracle.checkpoints import Case, load_reference, spread  # noqa: E402
from tests.oracle.comparison import (  # noqa: E402
    BORDERS,
    ISAS,
    PLAIN_SIGHT,
    TEXT,
    TOLERANCE,
    error,
    ours,
    theirs,
)
from tests.oracle.faults import faults  # noqa: E402


def shape(hidden: int, heads: int, kv_heads: int, mlp: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": mlp,
        "num_hidden_layers": 3,
        "tie_word_embeddings": False,
    } | more


def rope(kind: str, theta: float, **more: float) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta} | more}


# Lengths of the waves range from well below to well above the original context, so that all three
# ranges of the scaling occur.
LLAMA3 = rope(
    "llama3", 10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=64,
)  # fmt: skip
BIASED: dict[str, Any] = {"attention_bias": True}
TIED: dict[str, Any] = {"tie_word_embeddings": True}

CASES = [
    Case("plain", "llama", shape(60, 3, 1, 50, rms_norm_eps=1e-5)),
    Case("biased", "llama", shape(55, 5, 5, 33, head_dim=14) | BIASED | TIED, 1),
    Case("llama3", "llama", shape(72, 9, 3, 96, head_dim=26) | LLAMA3, 2),
    Case("linear", "llama", shape(48, 6, 2, 41) | rope("linear", 500.0, factor=4.0) | TIED, 3),
    Case("odd", "qwen2", shape(70, 7, 7, 51), 4),
    Case("tied", "qwen2", shape(66, 3, 1, 80) | rope("default", 1e6) | TIED, 5),
    Case("tied", "qwen3", shape(52, 9, 3, 90, head_dim=22) | rope("default", 1e6) | TIED, 6),
    Case("biased", "qwen3", shape(61, 5, 1, 47, head_dim=34) | BIASED, 7),
]


def random_case(seed: int) -> Case:
    """A model drawn from what the three architectures allow."""
    rng = np.random.default_rng(1000 + seed)
    architecture = ("llama", "qwen2", "qwen3")[seed % 3]
    kv_heads, group, half = rng.integers(1, 5), rng.integers(1, 6), rng.integers(2, 35)
    heads, head_dim = int(kv_heads * group), int(2 * half)
    hidden = heads * head_dim if architecture == "qwen2" else int(rng.integers(20, 150))
    if architecture == "llama":  # the one that wants a multiple, whatever head_dim is
        hidden += -hidden % heads
    config = shape(hidden, heads, int(kv_heads), int(rng.integers(17, 200)), head_dim=head_dim)
    config["tie_word_embeddings"] = bool(rng.integers(2))
    config["num_hidden_layers"] = int(rng.integers(1, 5))
    config["rms_norm_eps"] = float(10.0 ** rng.integers(-7, -3))
    if architecture != "qwen2":
        config["attention_bias"] = bool(rng.integers(2))
    kinds = [rope("default", float(10.0 ** rng.integers(2, 7)))]
    if architecture == "llama":
        kinds += [LLAMA3, rope("linear", 1e4, factor=float(rng.integers(2, 9)))]
    return Case(f"random{seed}", architecture, config | kinds[rng.integers(len(kinds))], seed)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits_are_those_of_transformers(made: Any, case: Case, isa: str) -> None:
    checkpoint, model = made(case)
    assert error(ours(model, isa), theirs(load_reference(checkpoint))) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(36))
def test_random_shapes(made: Any, seed: int) -> None:
    checkpoint, model = made(random_case(seed))
    reference = load_reference(checkpoint)
    measured = spread(reference, TEXT)
    assert min(measured.attention / 2, measured.output) > 1
    expected = theirs(reference)
    for isa in ISAS:
        assert error(ours(model, isa), expected) < TOLERANCE, isa


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_random_models_would_show_a_fault(made: Any, case: Case) -> None:
    checkpoint, _ = made(case)
    measured = spread(load_reference(checkpoint), TEXT)
    assert measured.attention > 2
    assert measured.output > 1


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_planted_fault_is_seen(made: Any, case: Case) -> None:
    checkpoint, model = made(case)
    logits = ours(model, ISAS[0])
    reference = load_reference(checkpoint)
    names = []
    for name, plant in faults(reference):
        broken = deepcopy(reference)
        with torch.no_grad():
            plant(broken)
        assert error(logits, theirs(broken)) > PLAIN_SIGHT, name
        names.append(name)
    assert len(names) >= 5
    shifted = np.arange(len(TEXT)) + (np.arange(len(TEXT)) >= BORDERS[1])
    assert error(logits, theirs(reference, shifted)) > PLAIN_SIGHT, "positions after a border"
    assert error(logits, theirs(reference)) < TOLERANCE
