"""Wrong use of an engine: a named error or a reason, and the engine goes on."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from stepguard.errors import (
    EngineClosed,
    ForkedProcessError,
    ModelFormatError,
    RuntimeMissingError,
)
from stepguard.manifest import load
from stepguard.runtime import Engine, Segment
from stepguard.runtime._resources import row_bytes

ROWS = np.array([1, 5], np.int32)


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


@pytest.fixture
def engine(tiny_models: dict[str, Path]) -> Iterator[Engine]:
    ort = os.environ.get("STEPGUARD_TEST_ORT")
    engine = Engine(tiny_models["int8"], threads=2, memory=16 << 20, ort_library=ort)
    yield engine
    engine.close()


def test_wrong_segments_are_refused_by_number(engine: Engine) -> None:
    good = Segment(ids(1, 2), engine.root)
    cases = [
        (Segment(ids(1), 1), "segment 1: parent 1 does not come before it"),
        (Segment(ids(-1), engine.root), "segment 1: token id -1"),
        (Segment(ids(10**6), engine.root), "segment 1: token id 1000000"),
        (Segment(ids(1), 0, read=ids(10**6)), "segment 1: output row id"),
        (Segment(ids(), 0, read=ROWS), "segment 1: nothing to read"),
    ]
    for segment, text in cases:
        with pytest.raises(ValueError, match=text):
            engine.submit([good, segment])
    with pytest.raises(ValueError, match="one-dimensional"):
        engine.submit([Segment(np.zeros((2, 2), np.int32), engine.root)])
    assert engine.submit([good]).wait(10)[0].reason == ""


def test_scratch_is_part_of_the_memory(tiny_models: dict[str, Path]) -> None:
    architecture = load(tiny_models["int8"]).architecture
    # The bounds of one row: it passes all of these on its way through a layer.
    assert row_bytes(architecture) > 4 * (2 * architecture.hidden + architecture.mlp)
    for memory, chunk in ((16 << 20, 512), (1 << 20, 512), (1 << 20, 24)):
        engine = Engine(tiny_models["int8"], threads=1, memory=memory, chunk=chunk)
        stats = engine.stats()
        # Nothing else is taken yet.
        assert stats["memory_used"] == stats["memory_scratch"] <= memory // 4
        assert stats["memory_scratch"] % row_bytes(architecture) == 0
        rows = stats["memory_scratch"] // row_bytes(architecture)
        assert rows == min(chunk, memory // 4 // row_bytes(architecture))
        before = stats["forwards"]
        tokens = np.arange(1, 200, dtype=np.int32)
        assert engine.submit([Segment(tokens, engine.root)]).wait(60)[0].reason == ""
        assert engine.stats()["forwards"] - before >= -(-len(tokens) // rows)
        engine.close()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"tokens": np.array([1.5])}, "segment 1: tokens: expected int32 ids, got float64"),
        ({"tokens": np.array([1 << 32])}, "segment 1: tokens: expected int32 ids, got int64"),
        ({"tokens": np.array([None])}, "segment 1: tokens: expected int32 ids, got object"),
        ({"tokens": "some text"}, "segment 1: tokens: expected int32 ids, got <U9"),
        ({"read": np.array([np.nan])}, "segment 1: read: expected int32 ids, got float64"),
        ({"parent": "root"}, "segment 1: parent: expected a State or the index"),
    ],
    ids=str,
)
def test_wrong_types_are_refused_by_number(engine: Engine, wrong: Any, text: str) -> None:
    good = Segment(ids(1, 2), engine.root)
    fields: dict[str, Any] = {"tokens": ids(3), "parent": 0, "read": ROWS} | wrong
    with pytest.raises(TypeError, match=text):
        engine.submit([good, Segment(**fields)])
    assert engine.submit([good]).wait(10)[0].reason == ""


def test_a_state_of_another_engine_is_refused(engine: Engine, tiny_models: dict[str, Path]) -> None:
    other = Engine(tiny_models["int8"], threads=1, memory=16 << 20)
    try:
        with pytest.raises(ValueError, match="State of another engine"):
            engine.submit([Segment(ids(1), other.root)])
    finally:
        other.close()


def test_an_empty_forest_has_no_results(engine: Engine) -> None:
    assert engine.submit([]).wait(1) == []


def test_full_memory_is_a_reason_and_loses_nothing(engine: Engine) -> None:
    text = np.ones(400, np.int32)
    kept = []
    while True:
        result = engine.submit([Segment(text, engine.root, keep=True)]).wait(60)[0]
        if result.reason:
            break
        kept.append(result.state)
    assert result.reason == "memory"
    assert result.state is None
    kept.pop()
    assert engine.submit([Segment(text, engine.root, keep=True)]).wait(60)[0].reason == ""


def test_a_path_beyond_the_context_overflows(engine: Engine) -> None:
    text = np.ones(5000, np.int32)
    assert engine.submit([Segment(text, engine.root, read=ROWS)]).wait(60)[0].reason == "overflow"


def test_closing_ends_what_waits(tiny_models: dict[str, Path]) -> None:
    engine = Engine(tiny_models["float32"], threads=2, memory=16 << 20, chunk=1)
    tickets = [
        engine.submit([Segment(np.ones(200, np.int32), engine.root, read=ROWS)]) for _ in range(20)
    ]
    engine.close()
    engine.close()
    reasons = {ticket.wait(10)[0].reason for ticket in tickets}
    assert "closing" in reasons
    assert reasons <= {"closing", ""}
    with pytest.raises(EngineClosed):
        engine.submit([Segment(ids(1), engine.root)])


def test_cancel_and_timeout(tiny_models: dict[str, Path]) -> None:
    engine = Engine(tiny_models["float32"], threads=1, memory=16 << 20, chunk=1)
    try:
        ticket = engine.submit([Segment(np.ones(200, np.int32), engine.root, read=ROWS)])
        with pytest.raises(TimeoutError, match="no result"):
            ticket.wait(0.0)
        ticket.cancel()
        assert ticket.wait(30)[0].reason == "closing"
    finally:
        engine.close()


def test_threads_get_their_own_results(engine: Engine) -> None:
    texts = [np.full(20 + n, n + 1, np.int32) for n in range(8)]
    alone = [engine.submit([Segment(t, engine.root, read=ROWS)]).wait(60)[0].logits for t in texts]
    seen: dict[int, bool] = {}

    def work(n: int) -> None:
        same = True
        for _ in range(20):
            result = engine.submit([Segment(texts[n], engine.root, read=ROWS)]).wait(60)[0]
            same = same and result.logits.tobytes() == alone[n].tobytes()
        seen[n] = same

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert seen == dict.fromkeys(range(8), True)


def test_a_forked_child_is_told_and_ends(engine: Engine) -> None:
    engine.submit([Segment(ids(1, 2), engine.root)]).wait(10)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            engine.submit([Segment(ids(1), engine.root)])
            text = "no error"
        except ForkedProcessError as error:
            text = str(error)
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert "after the fork" in pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert engine.submit([Segment(ids(1), engine.root)]).wait(10)[0].reason == ""


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"threads": -1}, "threads"),
        ({"memory": 100}, "memory: expected at least"),
        ({"chunk": 0}, "chunk"),
        ({"kv": "fp8"}, "kv: expected"),
    ],
)
def test_options_out_of_range(
    tiny_models: dict[str, Path], options: dict[str, object], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        Engine(tiny_models["int8"], **options)  # type: ignore[arg-type]


def test_an_unknown_isa_says_which_there_are(tiny_models: dict[str, Path]) -> None:
    with pytest.raises(RuntimeMissingError, match="generic"):
        Engine(tiny_models["int8"], isa="mmx")


def test_a_library_that_is_none(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    text_file = tmp_path / "libonnxruntime.so.1.30.0"
    text_file.write_text("no library")
    with pytest.raises(RuntimeMissingError, match="can be opened"):
        Engine(tiny_models["int8"], ort_library=str(text_file))


def damaged(source: Path, folder: Path) -> tuple[Path, onnx.ModelProto]:
    shutil.copytree(source, folder)
    return folder, onnx.load(folder / "model.onnx", load_external_data=False)


def test_damaged_graphs_are_refused_with_what_is_wrong(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    def load(change: object, name: str) -> str:
        folder, model = damaged(tiny_models["int8"], tmp_path / name)
        change(model)  # type: ignore[operator]
        onnx.save(model, folder / "model.onnx")
        with pytest.raises(ModelFormatError) as caught:
            Engine(folder, memory=16 << 20)
        return str(caught.value)

    def rename_input(model: onnx.ModelProto) -> None:
        model.graph.input[0].name = "tokens"
        for node in model.graph.node:
            node.input[:] = ["tokens" if name == "ids" else name for name in node.input]

    def wrong_size(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            if node.op_type == "Linear":
                next(a for a in node.attribute if a.name == "k").i += 32

    def foreign_op(model: onnx.ModelProto) -> None:
        model.graph.node[1].op_type = "Conv3"

    def wrong_heads(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            if node.op_type == "Attention":
                next(a for a in node.attribute if a.name == "head_dim").i *= 2

    assert "input ids is missing; input tokens is unknown" in load(rename_input, "input")
    assert "layer0" in load(wrong_size, "size")
    assert "Conv3" in load(foreign_op, "op")
    assert "qkv" in load(wrong_heads, "heads")


def test_short_and_missing_files(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder, _ = damaged(tiny_models["int8"], tmp_path / "short")
    weights = (folder / "weights.bin").read_bytes()
    (folder / "weights.bin").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelFormatError):
        Engine(folder, memory=16 << 20)
    (folder / "weights.bin").unlink()
    with pytest.raises(ModelFormatError):
        Engine(folder, memory=16 << 20)
    (folder / "model.onnx").write_bytes(b"\x08\x07nonsense")
    with pytest.raises(ModelFormatError):
        Engine(folder, memory=16 << 20)


def test_weights_that_are_no_numbers(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder, model = damaged(tiny_models["float32"], tmp_path / "nan")
    tensor = next(t for t in model.graph.initializer if t.name.endswith("qkv.weight"))
    place = {entry.key: entry.value for entry in tensor.external_data}
    with (folder / "weights.bin").open("r+b") as file:
        file.seek(int(place["offset"]))
        file.write(np.full(int(place["length"]) // 4, np.nan, np.float32).tobytes())
    with pytest.raises(ModelFormatError, match="finite"):
        Engine(folder, memory=16 << 20)


def test_the_manifest_is_read(tiny_models: dict[str, Path]) -> None:
    manifest = json.loads((tiny_models["int8"] / "manifest.json").read_text())
    engine = Engine(tiny_models["int8"], memory=16 << 20)
    try:
        assert engine.kv == manifest["quantisation"]["kv"]
    finally:
        engine.close()
