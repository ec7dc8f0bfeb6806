"""Random hybrids as GGUF files against transformers, and what the reading of them could get wrong.

The files are converted by the rules of llama.cpp, see `tests/export/qwen35_gguf.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers.models.qwen3_5")
pytest.importorskip("gguf")

from gguf import GGMLQuantizationType as Kind  # noqa: E402

from stepguard.export import export_model, source  # noqa: E402
from stepguard.export.value_heads import ValueHeads  # noqa: E402
from tests.export.qwen35_gguf import Conversion, dequantised, write_qwen35  # noqa: E402
from tests.oracle.checkpoints import Case, load_reference, write_checkpoint  # noqa: E402
from tests.oracle.comparison import (  # noqa: E402
    ISAS,
    PLAIN_SIGHT,
    TOLERANCE,
    Floats,
    error,
    ours,
    theirs,
)
from tests.oracle.test_hybrid import BORDERS, heads, hybrid, random_case, rope  # noqa: E402

# Rows of whole blocks, so that everything can be quantised.
BLOCKS = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "head_dim": 16}
BLOCKS |= {"num_key_value_heads": 2, "rope_parameters": rope(0.5)}  # type: ignore[dict-item]
CASES = [
    hybrid("one-to-one", "ddda", 20, tie_word_embeddings=True, **BLOCKS | heads(3, 3, 16, 32)),
    hybrid("one-to-two", "dd", 21, **BLOCKS | heads(2, 4, 12, 32)),
    hybrid("one-to-three", "dada", 22, **BLOCKS | heads(2, 6, 8, 64, 3)),
    hybrid("across-blocks", "add", 23, tie_word_embeddings=True, **BLOCKS | heads(4, 8, 9, 8)),
    hybrid("odd", "dad", 24, attention_bias=True, hidden_size=55, **heads(3, 6, 7, 11, 5)),
]
DEALT = CASES[2]  # dealing two by three is not its own inverse
ODD = CASES[-1]  # none of its rows is whole blocks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Path]:
    """The checkpoint of a case, made once."""

    @cache
    def make(place: int) -> Path:
        return write_checkpoint(tmp_path_factory.mktemp("qwen35") / "c", CASES[place])

    return lambda case: make(CASES.index(case))


def logits_of(work: Path, checkpoint: Path, how: Conversion, isa: str = ISAS[0]) -> Floats:
    """Our logits of a checkpoint that went through a GGUF file."""
    file = write_qwen35(work / "model.gguf", checkpoint, how)
    export_model(file, work / "model", quant="float32", template="short", overwrite=True)
    return ours(work / "model", isa, BORDERS)


def reference_of(checkpoint: Path, kind: Kind) -> Any:
    """The transformers model on the weights that a file of that kind holds."""
    model = load_reference(checkpoint)
    weights = {
        name: torch.from_numpy(v.copy()) for name, v in dequantised(checkpoint, kind).items()
    }
    outcome = model.load_state_dict(weights, strict=False)
    assert not outcome.unexpected_keys
    assert set(outcome.missing_keys) <= {"lm_head.weight"}  # where it is the table of embeddings
    return model


@pytest.mark.parametrize("kind", [Kind.F32, Kind.Q8_0, Kind.Q4_0], ids=lambda kind: kind.name)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits_are_those_of_transformers(
    tmp_path: Path, folder: Any, case: Case, kind: Kind
) -> None:
    checkpoint = folder(case)
    expected = theirs(reference_of(checkpoint, kind), borders=BORDERS)
    if case is not ODD and kind != Kind.F32:  # the rounding itself is in plain sight
        assert error(expected, theirs(load_reference(checkpoint), borders=BORDERS)) > PLAIN_SIGHT
    listed = case.config["layer_types"][0] == "full_attention"  # no interval says that
    found = logits_of(tmp_path, checkpoint, Conversion(kind, listed=listed))
    assert error(found, expected) < TOLERANCE


@pytest.mark.parametrize(
    "name",
    [
        "in_proj_qkv.weight",
        "in_proj_z.weight",
        "in_proj_b.weight",
        "in_proj_a.weight",
        "conv1d.weight",
        "A_log",
        "dt_bias",
        "linear_attn.out_proj.weight",
    ],
)
def test_a_tensor_in_another_order_would_be_seen(tmp_path: Path, folder: Any, name: str) -> None:
    expected = theirs(load_reference(folder(DEALT)), borders=BORDERS)
    found = logits_of(tmp_path, folder(DEALT), Conversion(as_is=(name,)))
    assert error(found, expected) > PLAIN_SIGHT


def test_an_offset_on_the_norm_of_delta_heads_would_be_seen(tmp_path: Path, folder: Any) -> None:
    expected = theirs(load_reference(folder(DEALT)), borders=BORDERS)
    found = logits_of(tmp_path, folder(DEALT), Conversion(offset_everywhere=True))
    assert error(found, expected) > PLAIN_SIGHT


def _keep_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ValueHeads, "stored", lambda self, begin, end: np.arange(begin, end))


def _keep_exponential(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(source, "_log_of_minus", lambda values, name: values)


def _keep_offset(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(source.Source, "_norm", lambda self, name: self.checkpoint.store.whole(name))


@pytest.mark.parametrize("plant", [_keep_order, _keep_exponential, _keep_offset])
def test_what_is_not_undone_is_seen(
    tmp_path: Path, folder: Any, monkeypatch: pytest.MonkeyPatch, plant: Any
) -> None:
    expected = theirs(load_reference(folder(DEALT)), borders=BORDERS)
    assert error(logits_of(tmp_path, folder(DEALT), Conversion()), expected) < TOLERANCE
    plant(monkeypatch)
    assert error(logits_of(tmp_path, folder(DEALT), Conversion()), expected) > PLAIN_SIGHT


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_random_shapes(tmp_path: Path, seed: int) -> None:
    case = random_case(seed)
    checkpoint = write_checkpoint(tmp_path / "c", case)
    expected = theirs(load_reference(checkpoint), borders=BORDERS)
    assert error(logits_of(tmp_path, checkpoint, Conversion(listed=True)), expected) < TOLERANCE
