"""Random hybrids (Gated DeltaNet and gated attention) against transformers, and planted faults."""

from __future__ import annotations

import logging
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("transformers.models.qwen3_5")

from stepguard.export import export_model  # noqa: E402
from tests.export.tiny import make_checkpoint, randomise, write_tokenizer  # noqa: E402
from tests.oracle.checkpoints import VOCABULARY, Case, load_reference, spread  # noqa: E402
from tests.oracle.comparison import (  # noqa: E402
    ISAS,
    PLAIN_SIGHT,
    ROWS,
    TEXT,
    TOLERANCE,
    Floats,
    error,
    ours,
    theirs,
)
from tests.oracle.hybrid_faults import hybrid_faults  # noqa: E402

# Steps of one token, of less and of more than the width of the convolution, and odd lengths.
BORDERS = (1, 2, 4, 9, 42, 64, 65, 100, len(TEXT))
KINDS = {"d": "linear_attention", "a": "full_attention"}


def hybrid(name: str, pattern: str, seed: int, **more: Any) -> Case:
    """A case whose layers are spelled: d reads with the delta rule, a attends."""
    config: dict[str, Any] = {
        "hidden_size": 60,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 20,
        "intermediate_size": 50,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 12,
        "linear_value_head_dim": 10,
        "rope_parameters": rope(0.4),
        "num_hidden_layers": len(pattern),
        "layer_types": [KINDS[letter] for letter in pattern],
    }
    return Case(name, "qwen3_5_text", config | more, seed)


def rope(part: float, theta: float = 1e4) -> dict[str, Any]:
    # The sections belong to pictures: all three of them are the same for text.
    sections = {"mrope_interleaved": True, "mrope_section": [2, 1, 1]}
    parameters = {"rope_type": "default", "rope_theta": theta, "partial_rotary_factor": part}
    return parameters | sections


def heads(k_heads: int, v_heads: int, k_dim: int, v_dim: int, width: int = 4) -> dict[str, int]:
    return {
        "linear_num_key_heads": k_heads,
        "linear_num_value_heads": v_heads,
        "linear_key_head_dim": k_dim,
        "linear_value_head_dim": v_dim,
        "linear_conv_kernel_dim": width,
    }


CASES = [
    hybrid("delta", "d", 0),
    hybrid("attention", "a", 1, rope_parameters=rope(0.5, 1e6)),
    hybrid("alternating", "dad", 2, hidden_size=55, **heads(3, 3, 16, 9)),
    hybrid("biased", "ad", 3, attention_bias=True, num_key_value_heads=3, **heads(2, 4, 7, 13, 3)),
    hybrid("usual", "dddad", 4, tie_word_embeddings=True, head_dim=32, rope_parameters=rope(0.25)),
    hybrid("wide", "dda", 5, hidden_size=77, rms_norm_eps=1e-5, **heads(1, 2, 33, 31, 8)),
    hybrid("narrow", "da", 6, intermediate_size=41, **heads(4, 4, 5, 6, 2)),
]


def random_case(seed: int) -> Case:
    rng = np.random.default_rng(2000 + seed)
    pattern = "".join(rng.choice(list("ddda"), int(rng.integers(1, 6))))
    kv_heads, k_heads, half = (int(n) for n in rng.integers(1, [5, 5, 20]))
    sizes = [int(n) for n in rng.integers(3, 40, 2)]
    delta = heads(k_heads, k_heads * int(rng.integers(1, 3)), *sizes, int(rng.integers(2, 6)))
    return hybrid(
        f"random{seed}-{pattern}",
        pattern,
        seed,
        hidden_size=int(rng.integers(20, 130)),
        num_key_value_heads=kv_heads,
        num_attention_heads=kv_heads * int(rng.integers(1, 4)),
        head_dim=4 * half,
        rope_parameters=rope(float(rng.choice([0.5, 1.0])), float(10.0 ** rng.integers(2, 7))),
        intermediate_size=int(rng.integers(17, 120)),
        tie_word_embeddings=bool(rng.integers(2)),
        attention_bias=bool(rng.integers(2)),
        rms_norm_eps=float(10.0 ** rng.integers(-7, -3)),
        **delta,
    )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits_are_those_of_transformers(made: Any, case: Case, isa: str) -> None:
    checkpoint, model = made(case)
    expected = theirs(load_reference(checkpoint), borders=BORDERS)
    assert error(ours(model, isa, BORDERS), expected) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_random_shapes(made: Any, seed: int) -> None:
    checkpoint, model = made(random_case(seed))
    reference = load_reference(checkpoint)
    expected = theirs(reference, borders=BORDERS)
    assert spread(reference, TEXT).output > 1
    for isa in ISAS:
        assert error(ours(model, isa, BORDERS), expected) < TOLERANCE, isa


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_random_models_would_show_a_fault(made: Any, case: Case) -> None:
    reference = load_reference(made(case)[0])
    measured = spread(reference, TEXT)
    assert measured.attention > 2
    assert measured.output > 1
    decays = [decay for delta in reference.modules() for decay in _decays(delta)]
    assert not decays or (min(decays) < 0.3 and max(decays) > 0.99)


def _decays(module: Any) -> list[float]:
    """The decay per token of each head, where its input is zero."""
    if not hasattr(module, "A_log"):
        return []
    with torch.no_grad():
        decays = torch.exp(-module.A_log.exp() * torch.nn.functional.softplus(module.dt_bias))
    return [float(decay) for decay in decays]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_planted_fault_is_seen(made: Any, case: Case) -> None:
    checkpoint, model = made(case)
    logits = ours(model, ISAS[0], BORDERS)
    reference = load_reference(checkpoint)
    for name, plant in hybrid_faults(reference.model):
        broken = deepcopy(reference)
        with torch.no_grad():
            plant(broken.model)
        assert error(logits, theirs(broken, borders=BORDERS)) > PLAIN_SIGHT, name
    if len(set(reference.config.layer_types)) == 2:  # transformers wants an attention layer
        assert error(logits, by_steps(reference)) < TOLERANCE
        assert error(logits, by_steps(reference, lose="conv_states")) > PLAIN_SIGHT
        assert error(logits, by_steps(reference, lose="recurrent_states")) > PLAIN_SIGHT


def by_steps(reference: Any, lose: str = "") -> Floats:
    """Logits of transformers read step by step; `lose` is what every border forgets."""
    cache = transformers.DynamicCache(config=reference.config)
    read, start = [], 0
    with torch.no_grad():
        for stop in BORDERS:
            ids = torch.tensor(TEXT[None, start:stop].astype(np.int64))
            out = reference(ids, past_key_values=cache, use_cache=True)
            read.append(out.logits[0, -1].numpy()[ROWS])
            start = stop
            for layer in cache.layers:
                for state in getattr(layer, lose, {}).values() if lose else ():
                    state.zero_()
    return np.stack(read)


def seeing_checkpoint(folder: Path) -> tuple[Path, Any]:
    """A model with a vision tower, as the base models are published; and its reference."""
    text = hybrid("seeing", "dad", 8).config | {"vocab_size": VOCABULARY}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
    vision |= {"out_hidden_size": text["hidden_size"], "num_position_embeddings": 16}
    config = transformers.AutoConfig.for_model("qwen3_5", text_config=text, vision_config=vision)
    model = transformers.Qwen3_5ForConditionalGeneration(config)
    randomise(model, 8)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder, model.eval()


def test_only_the_text_tower_is_exported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint, reference = seeing_checkpoint(tmp_path / "checkpoint")
    with caplog.at_level(logging.INFO, "stepguard.export"):
        manifest = export_model(checkpoint, tmp_path / "model", quant="float32", template="short")
    assert "of vision are dropped" in caplog.text
    assert manifest.architecture.delta is not None
    assert (manifest.architecture.layers, manifest.architecture.delta.layers) == (3, 2)
    logits = ours(tmp_path / "model", ISAS[0], BORDERS)
    assert error(logits, theirs(reference, borders=BORDERS)) < TOLERANCE


@pytest.mark.parametrize("quant", ["int8", "int4"])
def test_gates_stay_float32(tmp_path: Path, quant: str) -> None:
    case = hybrid("small", "da", 9)
    folder = make_checkpoint(
        tmp_path / "checkpoint", case.architecture, 9, vocab_size=VOCABULARY, **case.config
    )
    manifest = export_model(folder, tmp_path / "model", quant=quant, template="short")
    assert manifest.quantisation.linear == {"float32": 1, quant: 8}
    assert np.isfinite(ours(tmp_path / "model", ISAS[0], (3, 20))).all()
