"""What int4 and int8 weights are multiplied with: the choice, and what it may not do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from stepguard.runtime import Engine, Segment, isa_tables

ROWS = np.array([1, 5, 9, 30], np.int32)
TEXT = np.random.default_rng(1).integers(0, 200, 90).astype(np.int32)
ISAS = [table.name for table in isa_tables()]
BFLOAT16 = {"generic", "amx"}


def open_engine(folder: Path, **choices: str) -> Engine:
    return Engine(folder, threads=1, memory=16 << 20, **choices)  # type: ignore[arg-type]


def logits(folder: Path, **choices: str) -> npt.NDArray[np.float32]:
    engine = open_engine(folder, **choices)
    try:
        (result,) = engine.submit([Segment(TEXT, engine.root, read=ROWS)]).wait(60)
        assert result.reason == "", result.message
        return np.array(result.logits)
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("quant", "wanted", "runs"),
    [
        ("float32", None, "fp32"),
        ("float32", "fp32", "fp32"),
        ("int8", None, "int8"),
        ("int4", None, "bf16" if ISAS[0] == "amx" else "int8"),
        ("int4", "fp32", "fp32"),
        ("int4", "int8", "int8"),
    ],
)
def test_choice(tiny_models: dict[str, Path], quant: str, wanted: str | None, runs: str) -> None:
    choices = {} if wanted is None else {"activations": wanted}
    engine = open_engine(tiny_models[quant], **choices)
    assert engine.activations == runs
    engine.close()


def test_wrong_choices(tiny_models: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="'int8' needs int4 or int8 weights"):
        open_engine(tiny_models["float32"], activations="int8")
    with pytest.raises(ValueError, match="expected one of 'fp32', 'int8', 'bf16', got 'int4'"):
        open_engine(tiny_models["int4"], activations="int4")
    with pytest.raises(ValueError, match="'bf16' needs int4 or int8 weights"):
        open_engine(tiny_models["float32"], activations="bf16")
    for isa in (name for name in ISAS if name not in BFLOAT16):
        with pytest.raises(ValueError, match=f"needs the kernel table 'amx', .* table '{isa}'"):
            open_engine(tiny_models["int4"], isa=isa, activations="bf16")


def test_a_table_that_was_asked_for_takes_its_own(tiny_models: dict[str, Path]) -> None:
    for isa in ISAS:
        engine = open_engine(tiny_models["int4"], isa=isa)
        assert engine.activations == ("bf16" if isa == "amx" else "int8")
        engine.close()


@pytest.mark.parametrize("isa", ISAS)
def test_int8_weights_lose_nothing_that_counts(tiny_models: dict[str, Path], isa: str) -> None:
    """16 bits beside int8 weights, 8 beside int4: other bits, and how far off each may be."""
    for quant, most in (("int8", 1e-3), ("int4", 0.3)):
        exact = logits(tiny_models[quant], isa=isa, activations="fp32")
        rounded = logits(tiny_models[quant], isa=isa, activations="int8")
        difference = np.abs(exact - rounded).max() / exact.std()
        assert 0 < difference < most, quant


@pytest.mark.parametrize("isa", [name for name in ISAS if name in BFLOAT16])
def test_bfloat16_is_closer_than_8_bits(tiny_models: dict[str, Path], isa: str) -> None:
    exact = logits(tiny_models["int4"], isa=isa, activations="fp32")
    bfloat16, int8 = (
        float(np.square(exact - logits(tiny_models["int4"], isa=isa, activations=name)).mean())
        for name in ("bf16", "int8")
    )
    assert 0 < bfloat16 < int8 / 2


def place(folder: Path, tensor: str) -> int:
    """Where a tensor begins in weights.bin."""
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    (found,) = [item for item in model.graph.initializer if item.name == tensor]
    return int({entry.key: entry.value for entry in found.external_data}["offset"])


@pytest.mark.parametrize(
    ("isa", "activations"),
    [(i, a) for i in ISAS for a in ("fp32", "int8", "bf16") if a != "bf16" or i in BFLOAT16],
)
def test_what_is_no_number_stays_none(
    tiny_models: dict[str, Path], tmp_path: Path, isa: str, activations: str
) -> None:
    """Rounding must not turn NaN or Inf into an answer: neither in one column nor in a row."""
    folder = shutil.copytree(tiny_models["int4"], tmp_path / "model")
    hidden = json.loads((folder / "manifest.json").read_text())["architecture"]["hidden"]
    blocks = -(-hidden // 32)
    offset = place(folder, "embedding.scales")
    with (folder / "weights.bin").open("r+b") as file:
        for token, bad in ((7, np.nan), (8, np.inf), (9, -np.inf)):
            file.seek(offset + 2 * blocks * token + 2 * (blocks - 1))
            file.write(np.array([bad], np.float16).tobytes())
    engine = open_engine(folder, isa=isa, activations=activations)
    try:
        for token in (7, 8, 9):
            ids = np.array([3, token, 4, 5], np.int32)
            good = np.array([3, 4, 5], np.int32)
            bad, clean = engine.submit(
                [Segment(ids, engine.root, read=ROWS), Segment(good, engine.root, read=ROWS)]
            ).wait(60)
            assert bad.reason == "numeric"
            assert clean.reason == ""
            assert np.isfinite(clean.logits).all()
    finally:
        engine.close()
