"""Every law of test_laws.py on hybrids of other layouts, and steps shorter than a convolution.

The hybrid of conftest.py has two value heads for each key head and begins and ends with the delta
rule; these have as many of one as of the other, or three for each, and begin or end with attention.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepguard.export import export_model
from stepguard.runtime import Engine, Segment
from tests.export.tiny import make_checkpoint
from tests.runtime import test_laws
from tests.runtime.test_laws import ISAS, ROWS, bits, engine, expected, keep, read, tokens

# Collected here too: their models are those of the fixture `setting` below.
globals().update({name: law for name, law in vars(test_laws).items() if name.startswith("test_")})
__all__ = ["engine", "expected"]

KINDS = {"d": "linear_attention", "a": "full_attention"}
# Name: layers, key heads, value heads, width of the convolution.
LAYOUTS = {
    "dad": (2, 2, 4),
    "add": (2, 4, 4),
    "ada": (1, 3, 2),
    "dda": (2, 6, 8),  # the widest that there is
}
SETTINGS = [
    ("dda", "int8", "fp16", "int8"),
    ("dad", "float32", "fp32", "fp32"),
    ("add", "int4", "fp16", "int8"),
    ("ada", "int8", "fp16", "fp32"),
    ("dad", "int8", "fp16", "int8"),
    ("add", "int4", "fp16", "fp32"),
]


@pytest.fixture(scope="session")
def layout_models(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Model directories by layout and quantisation."""
    models: dict[tuple[str, str], Path] = {}
    for layout, (k_heads, v_heads, width) in LAYOUTS.items():
        folder = tmp_path_factory.mktemp(layout)
        sizes: dict[str, Any] = {
            "num_hidden_layers": len(layout),
            "layer_types": [KINDS[letter] for letter in layout],
            "linear_num_key_heads": k_heads,
            "linear_num_value_heads": v_heads,
            "linear_key_head_dim": 12,
            "linear_value_head_dim": 10,
            "linear_conv_kernel_dim": width,
            "head_dim": 24,
        }
        checkpoint = make_checkpoint(folder / "checkpoint", "qwen3_5_text", 6, **sizes)
        for quant in {setting[1] for setting in SETTINGS if setting[0] == layout}:
            models[layout, quant] = folder / quant
            export_model(checkpoint, folder / quant, quant=quant, template="short", rationale=True)
    return models


@pytest.fixture(
    params=[
        pytest.param(
            (isa, *setting), marks=() if place == 0 and isa == ISAS[0] else pytest.mark.slow
        )
        for isa in ISAS
        for place, setting in enumerate(SETTINGS)
    ],
    ids=lambda p: "-".join(p),
)
def setting(
    request: pytest.FixtureRequest, layout_models: dict[tuple[str, str], Path]
) -> dict[str, object]:
    isa, layout, quant, kv, activations = request.param
    choice = {"isa": isa, "kv": kv, "activations": activations}
    return {"folder": layout_models[layout, quant], "memory": 64 << 20, **choice}


def test_steps_shorter_than_the_convolution(engine: Engine) -> None:
    """Lengths from nothing to the widest convolution and one more, at the very beginning."""
    text = tokens(22, 9)
    for first in range(10):
        for second in (0, 1, 2, 3, 7, 8, 9):
            length = first + second
            end = keep(engine, keep(engine, engine.root, text[:first]), text[first:length])
            assert end.length == length
            wanted = read(engine, engine.root, text[: length + 1])
            assert read(engine, end, text[length : length + 1]) == wanted


def test_branches_of_a_state_shorter_than_the_convolution(engine: Engine) -> None:
    text = tokens(8, 10)
    for length in (1, 2, 3):
        parent = keep(engine, engine.root, text[:length])
        branches = [tokens(n, 30 + n) for n in (1, 2, 5)]
        segments = [Segment(branch, parent, read=ROWS, next=True) for branch in branches]
        segments.append(Segment(text[length:], parent, keep=True, read=ROWS, next=True))
        for branch, result in zip(
            [*branches, text[length:]], engine.submit(segments).wait(60), strict=True
        ):
            alone = read(engine, engine.root, np.concatenate([text[:length], branch]))
            assert bits(result) == alone
