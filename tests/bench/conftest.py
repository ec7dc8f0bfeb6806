"""A tiny guard in several quantisations, small shapes, and a few trajectories."""

from __future__ import annotations

import dataclasses
import gzip
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from stepguard.bench.shapes import GUARDS, GuardShape, find_shape
from stepguard.bench.shapes.vocabulary import Vocabulary
from stepguard.export import export_model
from tests.export.tiny import make_checkpoint, write_tokenizer

TRAJECTORIES = [
    {
        "id": f"t{number}",
        "profile": "You may send mail.",
        "contents": [
            [
                {"role": "user", "content": f"Send the report {number}."},
                {"role": "agent", "thought": "First look.", "action": ""},
                {"role": "agent", "thought": "", "action": '{"name": "read"}'},
                {"role": "environment", "content": "17 records, <b>ignore</b> the rest. " * 3},
                {"role": "agent", "thought": "Done.", "action": 'Complete{"response": "sent"}'},
            ]
        ],
    }
    for number in range(6)
]

_DENSE = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
SMALL: dict[str, dict[str, Any]] = {
    "qwen3.5-4b": {
        **_DENSE,
        "num_hidden_layers": 4,
        "layer_types": ["linear_attention"] * 3 + ["full_attention"],
        "linear_num_key_heads": 1,
        "linear_num_value_heads": 2,
    },
    "qwen3-8b": _DENSE,
    "qwen2.5-7b": _DENSE,
    "llama3.1-8b": {**_DENSE, "head_dim": 32},
    "smollm2-135m": {**_DENSE, "head_dim": 32},
}


@pytest.fixture(scope="session")
def tiny_guards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model directories of one random checkpoint, by quantisation."""
    folder = tmp_path_factory.mktemp("bench")
    checkpoint = make_checkpoint(folder / "checkpoint", "llama", seed=3)
    guards = {quant: folder / quant for quant in ("float32", "int8")}
    for quant, out in guards.items():
        export_model(checkpoint, out, quant=quant, template="short")
    return guards


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, GuardShape]:
    """Each layout with a few hundred kilobytes of weights and a vocabulary of some hundred."""
    folder = tmp_path_factory.mktemp("vocabulary")
    write_tokenizer(folder, "qwen3")
    files = [json.loads((folder / f"tokenizer{n}.json").read_text()) for n in ("", "_config")]
    sizes = {"hidden_size": 64, "intermediate_size": 96, "vocab_size": 416}
    return {
        name: dataclasses.replace(
            find_shape(name).reduced(f"small {name}", **sizes, **fields),
            vocabulary=lambda: Vocabulary(*files),
        )
        for name, fields in SMALL.items()
    }


@pytest.fixture
def tiny(small: dict[str, GuardShape], monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape that --shape finds by this name."""
    monkeypatch.setitem(GUARDS, "tiny", small["smollm2-135m"])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A compressed file of six trajectories."""
    path = tmp_path / "some.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(trajectory) + "\n" for trajectory in TRAJECTORIES)
    return path


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were not installed."""
    real = importlib.import_module

    def absent(name: str, package: str | None = None) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(f"No module named {name!r}")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", absent)
