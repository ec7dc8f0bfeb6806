"""A tiny guard in several quantisations, and a few trajectories."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from stepguard.export import export_model
from tests.export.tiny import make_checkpoint

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


@pytest.fixture(scope="session")
def tiny_guards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model directories of one random checkpoint, by quantisation."""
    folder = tmp_path_factory.mktemp("bench")
    checkpoint = make_checkpoint(folder / "checkpoint", "llama", seed=3)
    guards = {quant: folder / quant for quant in ("float32", "int8")}
    for quant, out in guards.items():
        export_model(checkpoint, out, quant=quant, template="short")
    return guards


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A compressed file of six trajectories."""
    path = tmp_path / "some.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(trajectory) + "\n" for trajectory in TRAJECTORIES)
    return path
