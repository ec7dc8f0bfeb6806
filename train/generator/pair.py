"""The pair that is kept in examples/: of the held-out families, picked by hash and by nobody."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from stepguard.train.generator.make import Pair, line_of, pairs

SEED, COUNT = 0, 500  # the pairs among which is chosen
NAMES = ("unsafe.json", "safe.json")


def chosen_pair() -> Pair:
    """The pair whose unsafe record has the smallest SHA-256 of all COUNT held-out ones."""
    return min(
        pairs(SEED, COUNT, "held-out"),
        key=lambda pair: hashlib.sha256(line_of(pair.unsafe)).hexdigest(),
    )


def write_pair(folder: Path) -> None:
    """Writes both records into a folder, which is made where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = chosen_pair()
    for name, record in zip(NAMES, (pair.unsafe, pair.safe), strict=True):
        (folder / name).write_bytes(pretty(record))


def pretty(record: dict[str, Any]) -> bytes:
    """A record for people to read."""
    return (json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode()
