"""A tiny base with records, and a run on it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("peft")
torch = pytest.importorskip("torch")

from tests.train.lora.runs import tiny, write_records  # noqa: E402
from tests.train.lora.sittings import run  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    tiny(folder / "base")
    write_records(folder / "data.jsonl", 8, actions=2)
    return folder


@pytest.fixture(scope="session")
def whole(place: Path) -> Path:
    """A run that was not interrupted: eight steps."""
    out = place / "whole"
    sitting = run(place, out).sit(every=3)
    assert (sitting.begun, sitting.done, sitting.total, sitting.finished) == (0, 8, 8, True)
    return out
