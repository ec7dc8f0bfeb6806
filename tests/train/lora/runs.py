"""What the tests of adapters share: records, bases and runs on tiny random models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from stepguard.train.lora.base import Base, open_base
from stepguard.train.lora.loop import Trainer
from stepguard.train.lora.rows import Packed, Packer
from stepguard.train.lora.settings import Settings
from stepguard.train.lora.start import Start
from stepguard.train.records import Record, read_records
from tests.export.tiny import make_checkpoint

WORDS = (
    "read",
    "write",
    "send",
    "the",
    "mail",
    "file",
    "of",
    "now",
    "please",
    "all",
    "17",
    "don't",
)
LABELS = {
    "risk_source": "indirect_prompt_injection",
    "failure_mode": "unconfirmed_or_over_privileged_action",
    "harm_type": "privacy_and_confidentiality_harm",
}


def steps(rng: np.random.Generator, actions: int, unsafe: bool) -> list[dict[str, str]]:
    """A request and actions with their results; an unsafe one deletes in its last action."""

    def text() -> str:
        return " ".join(rng.choice(WORDS, int(rng.integers(2, 8))))

    found = [{"role": "user", "content": text()}]
    for number in range(actions):
        action = "delete delete all" if unsafe and number == actions - 1 else text()
        found.append({"role": "agent", "thought": text(), "action": action})
        found.append({"role": "environment", "content": text()})
    return found


def write_records(path: Path, count: int, seed: int = 0, actions: int = 3, **more: Any) -> Path:
    """Every second one is unsafe from its last action on; every fourth does not say where."""
    rng, lines = np.random.default_rng(seed), []
    for number in range(count):
        unsafe = number % 2
        value = {
            "id": f"r{number}",
            "profile": "a helper" if number % 3 else "",
            "contents": steps(rng, actions, bool(unsafe)),
            "label": unsafe,
            "first_unsafe_step": 2 * actions - 1 if number % 4 == 1 else None,
            "meta": {"family": f"f{number // 2}"},
            **(LABELS if unsafe else {}),
        }
        lines.append(json.dumps(value | more))
    path.write_text("\n".join(lines))
    return path


def tiny(folder: Path, layers: int = 3, arch: str = "llama", **config: Any) -> Path:
    """A random checkpoint."""
    return make_checkpoint(folder, arch, 1, num_hidden_layers=layers, **config)


def pack(base: Base, records: list[Record], context: int = 512) -> list[Packed]:
    """All of the records."""
    packer = Packer(base.encoder, base.labels, base.fields, context)
    return [packer.pack(record) for record in records]


def trainer(
    checkpoint: Path,
    data: Path,
    out: Path,
    beside: int = 1,
    start: Start | None = None,
    **settings: Any,
) -> Trainer:
    """A run on a base of its own."""
    base = open_base(checkpoint, taxonomy="base")
    chosen = Settings(**{"layers": 2, "rank": 4, "alpha": 8, "batch": 4, "epochs": 2} | settings)
    packed = pack(base, read_records([data]), chosen.context)
    return Trainer(base, packed, out, chosen, beside, start)
