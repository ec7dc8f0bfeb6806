"""Long chains on a hybrid: ten thousand tokens one by one are the same tokens at once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from stepguard.export import export_model
from stepguard.runtime import Engine, Segment, State
from tests.export.tiny import make_checkpoint

LENGTH = 10_000
TEXT = np.random.default_rng(11).integers(0, 200, LENGTH).astype(np.int32)
QUESTION = np.array([7, 8, 9, 10, 11], np.int32)
ROWS = np.array([1, 5, 9], np.int32)
PAGE = 32
ORT = os.environ.get("STEPGUARD_TEST_ORT")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hybrid with room for the chain."""
    tmp_path = tmp_path_factory.mktemp("chain")
    folder = make_checkpoint(
        tmp_path / "checkpoint",
        "qwen3_5_text",
        5,
        num_hidden_layers=3,
        layer_types=["linear_attention", "full_attention", "linear_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=12,
        linear_value_head_dim=10,
        max_position_embeddings=2 * LENGTH,
        head_dim=24,
    )
    export_model(folder, tmp_path / "model", quant="int8", template="short")
    return tmp_path / "model"


def kept(engine: Engine, parent: State, token: int, *, consume: bool) -> State:
    ids = np.array([token], np.int32)
    result = engine.submit([Segment(ids, parent, keep=True, consume=consume)]).wait(60)[0]
    assert result.reason == "", result.message
    assert result.state is not None
    return result.state


@pytest.mark.slow
def test_ten_thousand_consumed_tokens(model: Path) -> None:
    engine = Engine(model, threads=1, memory=32 << 20, ort_library=ORT)
    try:
        state = kept(engine, engine.root, int(TEXT[0]), consume=False)
        # Every other slot is held, so that a copy of the recurrent state would find no place.
        others = []
        while engine.stats()["slots_used"] < engine.stats()["slots_total"]:
            others.append(kept(engine, engine.root, 3, consume=False))
        before = engine.stats()
        for token in TEXT[1:]:
            state = kept(engine, state, int(token), consume=True)
        after = engine.stats()
        assert state.length == LENGTH
        assert after["tokens"] - before["tokens"] == LENGTH - 1
        assert after["tokens_copied"] == before["tokens_copied"]
        assert after["slots_used"] == before["slots_used"] == after["slots_total"]
        assert after["pages_used"] - before["pages_used"] == -(-LENGTH // PAGE) - 1
        chained = engine.submit([Segment(QUESTION, state, read=ROWS)]).wait(60)[0]
        del others, state
        text = np.concatenate([TEXT, QUESTION])
        at_once = engine.submit([Segment(text, engine.root, read=ROWS)]).wait(300)[0]
        assert chained.reason == at_once.reason == ""
        assert np.isfinite(chained.logits).all()
        assert np.isfinite(chained.hidden).all()
        assert chained.logits.tobytes() == at_once.logits.tobytes()
        assert chained.hidden.tobytes() == at_once.hidden.tobytes()
    finally:
        engine.close()


def test_ten_thousand_segments_of_one_batch(model: Path) -> None:
    engine = Engine(model, threads=1, memory=32 << 20, ort_library=ORT)
    try:
        segments = [Segment(TEXT[:1], engine.root)]
        segments += [Segment(TEXT[n : n + 1], n - 1) for n in range(1, LENGTH)]
        segments.append(Segment(QUESTION, LENGTH - 1, keep=True, read=ROWS))
        chained = engine.submit(segments).wait(300)[-1]
        text = np.concatenate([TEXT, QUESTION])
        at_once = engine.submit([Segment(text, engine.root, read=ROWS)]).wait(300)[0]
        assert chained.reason == at_once.reason == ""
        assert np.isfinite(chained.logits).all()
        assert chained.logits.tobytes() == at_once.logits.tobytes()
        assert chained.hidden.tobytes() == at_once.hidden.tobytes()
        assert engine.stats()["slots_used"] == 1
    finally:
        engine.close()
