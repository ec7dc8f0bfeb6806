"""A State as bytes, reading in parts, and files that change under the model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stepguard.errors import EngineClosed
from stepguard.runtime import Engine, Segment, State

ROWS = np.array([1, 5], np.int32)
TEXT = np.arange(1, 78, dtype=np.int32)
QUESTION = np.array([3, 4, 5], np.int32)


def open_engine(folder: Path, **options: object) -> Engine:
    ort = os.environ.get("STEPGUARD_TEST_ORT")
    return Engine(folder, threads=2, memory=16 << 20, ort_library=ort, **options)  # type: ignore[arg-type]


def keep(engine: Engine, text: np.ndarray, parent: State | None = None) -> State:
    (result,) = engine.submit([Segment(text, parent or engine.root, keep=True)]).wait(60)
    assert result.state is not None
    return result.state


def answer(engine: Engine, state: State) -> bytes:
    (result,) = engine.submit([Segment(QUESTION, state, read=ROWS)]).wait(60)
    assert result.reason == ""
    return result.logits.tobytes()


@pytest.fixture(params=["tiny", "hybrid"])
def folder(
    request: pytest.FixtureRequest, tiny_models: dict[str, Path], hybrid_models: dict[str, Path]
) -> Path:
    return {"tiny": tiny_models, "hybrid": hybrid_models}[request.param]["int8"]


@pytest.mark.parametrize("kv", ["fp16", "fp32"])
@pytest.mark.parametrize("length", [0, 1, 32, 77])
def test_a_saved_state_has_the_same_bits(folder: Path, kv: str, length: int) -> None:
    first, second = open_engine(folder, kv=kv), open_engine(folder, kv=kv)
    try:
        state = keep(first, TEXT[:length]) if length else first.root
        restored = second.restore(first.save(state))
        assert restored.length == length
        assert answer(second, restored) == answer(first, state)
        more = keep(second, TEXT, restored)
        assert answer(second, more) == answer(first, keep(first, TEXT, state))
        assert second.stats()["tokens"] == len(TEXT) + 2 * len(QUESTION)
    finally:
        first.close()
        second.close()


def test_damaged_bytes_are_refused_and_lose_nothing(folder: Path) -> None:
    engine = open_engine(folder)
    try:
        data = engine.save(keep(engine, TEXT))
        used = engine.stats()["pages_used"]
        longer = data[:8] + (10**15).to_bytes(8, "little") + data[16:]
        negative = data[:8] + b"\xff" * 8 + data[16:]
        for wrong in (b"", data[:20], data[:-1], data + b"x", b"X" + data[1:], longer, negative):
            with pytest.raises(ValueError, match="a saved State"):
                engine.restore(wrong)
        other = open_engine(folder, kv="fp32")
        with pytest.raises(ValueError, match="another model or KV type"):
            other.restore(data)
        with pytest.raises(ValueError, match="of this engine"):
            other.save(keep(engine, TEXT))
        other.close()
        kept = []
        with pytest.raises(MemoryError):
            while True:
                kept.append(engine.restore(data))
        kept.clear()
        assert engine.stats()["pages_used"] == used == 0
        assert engine.stats()["slots_used"] == 0
    finally:
        engine.close()


def test_a_late_read_goes_on_where_it_was(folder: Path) -> None:
    engine = open_engine(folder, chunk=1)
    try:
        text = np.tile(TEXT, 5)
        expected = answer(engine, keep(engine, text))
        state, parts = engine.root, 0
        while state.length < len(text):
            rest = Segment(text[state.length :], state, keep=True)
            (result,) = engine.submit([rest], seconds=0.01).wait(60)
            assert result.reason in ("", "deadline")
            state, parts = result.state or state, parts + 1
        assert parts > 1
        assert answer(engine, state) == expected
        ticket = engine.submit([Segment(text, engine.root, keep=True)])
        ticket.cancel()
        assert ticket.wait(60)[0].reason in ("", "closing")
        del state, result, ticket, rest
        assert engine.stats()["pages_used"] == engine.stats()["slots_used"] == 0
    finally:
        engine.close()


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def truncate(path: Path) -> None:
    os.truncate(path, 10)


def replace(path: Path) -> None:
    other = path.with_suffix(".new")
    shutil.copy2(path, other)
    other.replace(path)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [touch, truncate, replace, remove])
def test_a_file_that_changes_ends_the_answers(
    tiny_models: dict[str, Path], tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = shutil.copytree(tiny_models["int8"], tmp_path / "model")
    engine = open_engine(folder)
    try:
        keep(engine, TEXT)
        change(folder / "weights.bin")
        for _ in range(2):
            (result,) = engine.submit([Segment(TEXT, engine.root, keep=True)]).wait(60)
            assert result.reason == "internal"
            assert "weights.bin changed after it was loaded" in result.message
    finally:
        engine.close()


@pytest.mark.parametrize("budget", [0, -1, float("nan"), 1e12])
def test_a_budget_out_of_range(tiny_models: dict[str, Path], budget: float) -> None:
    with pytest.raises(ValueError, match="budget_ms"):
        open_engine(tiny_models["int8"], budget_ms=budget)


def test_a_closed_engine_saves_and_restores_nothing(folder: Path) -> None:
    engine = open_engine(folder)
    state = keep(engine, TEXT)
    data = engine.save(state)
    engine.close()
    with pytest.raises(EngineClosed):
        engine.save(state)
    with pytest.raises(EngineClosed):
        engine.restore(data)


def test_a_consumed_state_cannot_be_saved(hybrid_models: dict[str, Path]) -> None:
    engine = open_engine(hybrid_models["int8"])
    try:
        results = engine.submit([Segment(TEXT, engine.root, keep=True)]).wait(60)
        state = results[0].state
        del results
        assert state is not None
        engine.submit([Segment(QUESTION, state, consume=True)]).wait(60)
        with pytest.raises(ValueError, match="consumed"):
            engine.save(state)
    finally:
        engine.close()
