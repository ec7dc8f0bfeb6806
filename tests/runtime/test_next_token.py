"""The next token beside float64 over all logits, and where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stepguard.export import export_model
from stepguard.manifest import load
from stepguard.runtime import Engine, Segment, isa_tables
from tests.export.tiny import make_checkpoint

ISAS = [table.name for table in isa_tables()]
TEXTS = [np.random.default_rng(seed).integers(0, 200, 3 + 5 * seed) for seed in range(7)]


@pytest.fixture(params=["float32", "int8"])
def quant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=ISAS)
def engine(
    request: pytest.FixtureRequest, tiny_models: dict[str, Path], quant: str
) -> Iterator[Engine]:
    isa = request.param
    engine = Engine(tiny_models[quant], isa=isa, threads=2, memory=32 << 20)
    assert engine.isa == isa
    yield engine
    engine.close()


def test_best_and_its_log_probability(
    engine: Engine, tiny_models: dict[str, Path], quant: str
) -> None:
    """Seven sessions in one forward: argmax and log-softmax of all logits, in float64."""
    assert engine.writes
    vocabulary = load(tiny_models["float32"]).architecture.vocabulary
    rows = np.arange(vocabulary, dtype=np.int32)
    texts = [text.astype(np.int32) for text in TEXTS]
    segments = [Segment(text, engine.root, read=rows, next=True) for text in texts]
    for result in engine.submit(segments).wait(60):
        assert result.reason == ""
        logits = result.logits.astype(np.float64)
        exact = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        # ReadOut has the label rows in float32, an 8-bit table has them rounded.
        tolerance = 1e-6 if quant == "float32" else 2e-3
        assert result.next == int(exact.argmax())
        assert abs(result.next_score - exact.max()) < tolerance


def test_only_where_it_is_asked(engine: Engine) -> None:
    text = TEXTS[4].astype(np.int32)
    rows = np.array([5], np.int32)
    plain = engine.submit([Segment(text, engine.root, read=rows)]).wait(60)[0]
    assert (plain.next, plain.next_score) == (-1, 0.0)
    spent = engine.stats()["seconds_NextToken"]
    mixed = engine.submit(
        [
            Segment(text, engine.root, read=rows),
            Segment(text[:9], engine.root, next=True),
            Segment(text, engine.root, read=rows, next=True),
            Segment(text[9:], 1, next=True),
        ]
    ).wait(60)
    assert engine.stats()["seconds_NextToken"] > spent
    assert mixed[0].next == -1
    assert mixed[2].next == mixed[3].next >= 0
    assert len(mixed[1].logits) == 0
    assert mixed[0].logits.tobytes() == mixed[2].logits.tobytes() == plain.logits.tobytes()


def test_a_model_that_never_writes_refuses(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "llama", seed=1)
    export_model(checkpoint, tmp_path / "model", quant="float32", template="short")
    engine = Engine(tmp_path / "model", threads=1, memory=32 << 20)
    try:
        assert not engine.writes
        with pytest.raises(ValueError, match="segment 0: the next token is wanted of a model"):
            engine.submit([Segment(np.array([1], np.int32), engine.root, next=True)])
    finally:
        engine.close()


def test_nothing_follows_nothing(engine: Engine) -> None:
    with pytest.raises(ValueError, match="nothing to read after no tokens"):
        engine.submit([Segment(np.empty(0, np.int32), engine.root, next=True)])
