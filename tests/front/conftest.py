"""A guard on a fake engine, and small random guards on real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepguard.conversations import Conversations
from stepguard.export import export_model
from stepguard.guard import Guard
from tests.export.tiny import make_checkpoint
from tests.front.fakes import FakeEngine, make_guard
from tests.front.gated import Plan, answer_by_text

_HYBRID = {
    "num_hidden_layers": 3,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 10,
    "head_dim": 24,
}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def guard(engine: FakeEngine) -> Guard:
    return make_guard(engine)


@pytest.fixture
def answering(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Makes a step unsafe where its text has one of these words."""

    def plan(*words: str) -> None:
        def unsafe(text: str) -> bool:
            last = text[text.rindex("[ACTION]") :] if "[ACTION]" in text else text
            return any(word in last for word in words)

        answer_by_text(engine, monkeypatch, unsafe)

    return plan


@pytest.fixture(scope="session")
def small_guards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model directories of two random guards of 4,096 tokens: "attention" only, and "hybrid"."""
    folder = tmp_path_factory.mktemp("small")
    shapes: dict[str, tuple[str, dict[str, Any]]] = {
        "attention": ("qwen3", {}),
        "hybrid": ("qwen3_5_text", _HYBRID),
    }
    for name, (arch, shape) in shapes.items():
        checkpoint = make_checkpoint(
            folder / f"{name}-checkpoint", arch, seed=5, max_position_embeddings=4096, **shape
        )
        export_model(checkpoint, folder / name, quant="int8", template="short")
    return {name: folder / name for name in shapes}


@pytest.fixture(scope="session")
def diagnosable(small_guards: dict[str, Path]) -> dict[str, Path]:
    """The same with the labels of the base taxonomy."""
    found = {}
    for name, folder in small_guards.items():
        found[name] = folder.with_name(f"{name}-base")
        checkpoint = folder.with_name(f"{name}-checkpoint")
        export_model(checkpoint, found[name], quant="int8", template="short", taxonomy="base")
    return found


@pytest.fixture
def conversations(guard: Guard) -> Conversations:
    return Conversations(guard)
