"""Where the time of forwards goes, by operation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stepguard.runtime import Engine, Segment


def op_seconds(engine: Engine) -> dict[str, float]:
    return {k: v for k, v in engine.stats().items() if k.startswith("seconds_")}


def test_every_operation_is_timed(hybrid_models: dict[str, Path]) -> None:
    engine = Engine(hybrid_models["int4"], threads=2, memory=16 << 20)
    try:
        assert op_seconds(engine) == {}  # the token that tries the graph out does not count
        ids = np.arange(1, 60, dtype=np.int32)
        engine.submit([Segment(ids, engine.root, read=ids[:2], next=True)]).wait(60)
        first = op_seconds(engine)
        ops = ("Attention", "DeltaNet", "Embed", "Linear", "NextToken", "ReadOut", "RmsNorm")
        assert sorted(first) == [f"seconds_{op}" for op in ops]
        assert all(seconds > 0 for seconds in first.values())
        assert sum(first.values()) <= engine.stats()["busy_seconds"]
        engine.submit([Segment(ids, engine.root, read=ids[:2], next=True)]).wait(60)
        assert all(op_seconds(engine)[name] > first[name] for name in first)
    finally:
        engine.close()
