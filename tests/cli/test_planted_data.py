"""Labelled records and model folders whose names try to steer the terminal, end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepguard.export import export_model
from tests.cli.planted import WORDS, harmless, whole
from tests.cli.ran import Ran
from tests.export.tiny import make_checkpoint

pytestmark = pytest.mark.slow

Run = Callable[..., Ran]
TEXTS = ("read", "write", "send", "the", "mail", "file", "of", "now", "please", "delete", "all")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("planted")
    folder = make_checkpoint(place / "checkpoint", "llama", 1)
    export_model(folder, place / f"model{WORDS}", quant="int8", template="short")
    return place / f"model{WORDS}"


@pytest.fixture(scope="module")
def data(model: Path) -> Path:
    rng, path = np.random.default_rng(0), model.parent / f"data{WORDS}.jsonl"
    path.write_text("\n".join(json.dumps(record(rng, i)) for i in range(80)))
    return path


def record(rng: np.random.Generator, i: int) -> dict[str, Any]:
    text = [" ".join(rng.choice(TEXTS, 5)) for _ in range(3)]
    return {
        "id": f"{i}{WORDS}",
        "source": f"{'ab'[i % 2]}{WORDS}",
        "meta": {"family": f"{i // 2}{WORDS}"},
        "profile": "",
        "contents": [
            {"role": "user", "content": text[0]},
            {"role": "agent", "thought": text[1], "action": "a()"},
            {"role": "environment", "content": "x"},
            {"role": "agent", "thought": "", "action": text[2]},
        ],
        "label": (i // 4) % 2,
        "first_unsafe_step": 1 if (i // 4) % 2 else None,
    }


@pytest.mark.parametrize("coloured", [False, True], ids=["plain", "coloured"])
def test_what_is_measured_of_it(
    run: Run, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch, coloured: bool
) -> None:
    if coloured:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "300")
    shown = {}
    for name, words in {
        "quality": ["bench", "quality", model, data, "--draws", "10", "--threads", "1"],
        "growth": ["bench", "growth", model, "--to", "256", "--repeats", "1", "--threads", "1"],
        "fidelity": ["bench", "fidelity", model, "--kv", "fp32", "--data", data],
        "head": ["head", "fit", model, data, "--dry-run", "--threads", "1"],
        "calibrate": ["calibrate", model, data, "--target-fnr", "0.4", "--dry-run"],
    }.items():
        ran = run(*words)
        harmless(ran.out, coloured=coloured)
        harmless(ran.err, coloured=coloured)
        assert ran.out or ran.err, name
        shown[name] = ran
    for name in ("quality", "head"):
        assert shown[name].status == 0, shown[name].err
    if not coloured:
        whole(shown["quality"].out)
        assert "[red]x" in shown["head"].out  # its columns are narrow
