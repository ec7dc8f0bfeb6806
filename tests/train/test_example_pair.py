"""The pair in examples/ is the generator's, chosen by hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from stepguard.train.generator import held_out, pairs
from stepguard.train.generator.make import line_of
from stepguard.train.generator.pair import COUNT, NAMES, SEED, write_pair

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "pair"


def test_the_files_are_what_the_generator_makes(tmp_path: Path) -> None:
    write_pair(tmp_path)
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()


def test_the_pair_was_not_chosen_by_anybody() -> None:
    unsafe, safe = (json.loads((FOLDER / name).read_text()) for name in NAMES)
    assert (unsafe["label"], safe["label"]) == (1, 0)
    assert unsafe["meta"]["twin"] == safe["id"]
    assert held_out(unsafe["meta"]["family"])
    own = hashlib.sha256(line_of(unsafe)).hexdigest()
    for pair in pairs(SEED, COUNT, "held-out"):
        assert own <= hashlib.sha256(line_of(pair.unsafe)).hexdigest()
