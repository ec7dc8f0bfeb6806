"""The bitwise law: a row's bits depend only on the tokens before it, whatever else runs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from stepguard.runtime import Engine, Result, Segment, State, isa_tables

Ids = npt.NDArray[np.int32]
ROWS = np.array([1, 5, 9, 30], np.int32)
ISAS = [table.name for table in isa_tables()]
VOCABULARY = 200
ORT = os.environ.get("STEPGUARD_TEST_ORT")  # another library than the installed wheel's


def tokens(count: int, seed: int) -> Ids:
    return np.random.default_rng(seed).integers(0, VOCABULARY, count).astype(np.int32)


def bits(result: Result) -> bytes:
    """Bits of the logits, the hidden row, the next token and its log-probability."""
    assert 0 <= result.next < 512
    assert result.next_score < 0
    return b"".join(
        np.asarray(part).tobytes()
        for part in (result.logits, result.hidden, result.next, result.next_score)
    )


def read(engine: Engine, parent: State, ids: Ids) -> bytes:
    """Bits of what is read after `ids`, which leave no trace."""
    result = engine.submit([Segment(ids, parent, read=ROWS, next=True)]).wait(60)[0]
    assert result.reason == "", result.message
    return bits(result)


def keep(engine: Engine, parent: State, ids: Ids) -> State:
    result = engine.submit([Segment(ids, parent, keep=True)]).wait(60)[0]
    assert result.reason == "", result.message
    assert result.state is not None
    return result.state


@pytest.fixture(
    params=[
        (isa, model, quant, kv, activations)
        for isa in ISAS
        for model, quant, kv, activations in (
            ("tiny", "float32", "fp32", "fp32"),
            ("tiny", "int8", "fp16", "int8"),
            ("tiny", "int4", "fp16", "int8"),
            ("tiny", "int4", "fp16", "fp32"),
            ("hybrid", "int8", "fp16", "int8"),
            ("hybrid", "int4", "fp16", "int8"),
            ("hybrid", "int8", "fp16", "fp32"),
            ("hybrid", "int4", "fp16", "bf16"),
        )
        if activations != "bf16" or isa == "amx"
    ],
    ids=lambda p: "-".join(p),
)
def setting(request: pytest.FixtureRequest) -> dict[str, object]:
    isa, model, quant, kv, activations = request.param
    folder = request.getfixturevalue(f"{model}_models")[quant]
    choice = {"isa": isa, "kv": kv, "activations": activations}
    return {"folder": folder, "memory": 64 << 20, **choice}


def open_engine(setting: dict[str, object], **changes: object) -> Engine:
    return Engine(**{**setting, "threads": 1, "ort_library": ORT, **changes})  # type: ignore[arg-type]


@pytest.fixture
def engine(setting: dict[str, object]) -> Iterator[Engine]:
    engine = open_engine(setting)
    assert engine.isa == setting["isa"]
    assert engine.activations == setting.get("activations", engine.activations)
    assert ORT is None or ORT.endswith(engine.ort_version)
    yield engine
    engine.close()


TEXT = tokens(150, 1)
QUESTION = tokens(9, 2)


@pytest.fixture
def expected(engine: Engine) -> bytes:
    return read(engine, engine.root, np.concatenate([TEXT, QUESTION]))


@pytest.mark.parametrize(
    "borders", [(1,), (32,), (31, 33), (64, 96, 97, 98), tuple(range(1, 150, 7))]
)
def test_step_by_step_is_one_shot(
    engine: Engine, expected: bytes, borders: tuple[int, ...]
) -> None:
    state = engine.root
    for part in np.split(TEXT, borders):
        state = keep(engine, state, part)
    assert state.length == len(TEXT)
    assert read(engine, state, QUESTION) == expected


def test_questions_between_steps_leave_no_trace(engine: Engine, expected: bytes) -> None:
    state = engine.root
    for part in np.split(TEXT, [40, 77, 120]):
        state = keep(engine, state, part)
        first = read(engine, state, QUESTION)
        read(engine, state, tokens(70, 3))
        assert read(engine, state, QUESTION) == first
    assert read(engine, state, QUESTION) == expected


def test_strangers_in_the_batch_change_nothing(setting: dict[str, object], expected: bytes) -> None:
    engine = open_engine(setting, budget_ms=3_600_000)  # whatever the speed, one forward
    try:
        segments = [Segment(tokens(n, n), engine.root, read=ROWS, next=True) for n in (1, 17, 64)]
        segments.insert(1, Segment(TEXT, engine.root))
        segments.append(Segment(QUESTION, 1, read=ROWS, next=True))
        before = engine.stats()["forwards"]
        result = engine.submit(segments).wait(60)[-1]
        assert engine.stats()["forwards"] == before + 1
        assert bits(result) == expected
    finally:
        engine.close()


@pytest.mark.parametrize("chunk", [1, 7, 32, 512])
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_chunks_and_threads_change_nothing(
    setting: dict[str, object], expected: bytes, chunk: int, threads: int
) -> None:
    if chunk == 1 and threads > 2:
        pytest.skip("one-token forwards are run with one and two threads")
    other = open_engine(setting, chunk=chunk, threads=threads)
    try:
        tickets = [
            other.submit([Segment(TEXT, other.root), Segment(QUESTION, 0, read=ROWS, next=True)])
            for _ in range(2)
        ]
        for ticket in tickets:
            result = ticket.wait(60)[1]
            assert bits(result) == expected
    finally:
        other.close()


def test_two_children_of_one_parent(engine: Engine) -> None:
    parent = keep(engine, engine.root, TEXT[:41])
    left, right = tokens(20, 4), tokens(25, 5)
    both = engine.submit(
        [
            Segment(left, parent, keep=True),
            Segment(right, parent, keep=True),
            Segment(QUESTION, 0, read=ROWS, next=True),
            Segment(QUESTION, 1, read=ROWS, next=True),
        ]
    ).wait(60)
    for branch, result in ((left, both[2]), (right, both[3])):
        alone = read(engine, engine.root, np.concatenate([TEXT[:41], branch, QUESTION]))
        assert bits(result) == alone
    for branch, result in ((left, both[0]), (right, both[1])):
        assert result.state is not None
        alone = read(engine, engine.root, np.concatenate([TEXT[:41], branch, QUESTION]))
        assert read(engine, result.state, QUESTION) == alone


def test_a_tree_of_depth_four(engine: Engine) -> None:
    parts = [tokens(5 + 3 * i, 20 + i) for i in range(8)]
    segments = [Segment(TEXT[:30], engine.root)]
    paths = [TEXT[:30]]
    for depth in range(4):
        for branch in range(2):
            parent = 0 if depth == 0 else len(segments) - 2
            part = parts[2 * depth + branch]
            segments.append(Segment(part, parent, keep=branch == 0, read=ROWS, next=True))
            paths.append(np.concatenate([paths[parent], part]))
    results = engine.submit(segments).wait(60)
    for path, result in list(zip(paths, results, strict=True))[1:]:
        alone = read(engine, engine.root, path)
        assert bits(result) == alone


def test_only_new_tokens_are_computed(engine: Engine) -> None:
    state = keep(engine, engine.root, TEXT)
    before = engine.stats()["tokens"]
    state = keep(engine, state, tokens(13, 6))
    read(engine, state, QUESTION)
    assert engine.stats()["tokens"] == before + 13 + len(QUESTION)


def used(engine: Engine) -> tuple[float, float]:
    stats = engine.stats()
    return stats["pages_used"], stats["slots_used"]


def test_pages_and_slots_come_back(engine: Engine) -> None:
    before = used(engine)
    state = keep(engine, engine.root, TEXT)
    child = keep(engine, state, QUESTION)
    assert used(engine) > before
    del state, child
    assert used(engine) == before


def test_many_rows_at_once_are_the_rows_one_by_one(setting: dict[str, object]) -> None:
    """Whoever reads a whole vocabulary is read by all threads."""
    few = np.arange(400, dtype=np.int32)
    many = np.tile(few, 6)
    found = set()
    for threads in (1, 3):
        engine = Engine(**setting, threads=threads, ort_library=ORT)  # type: ignore[arg-type]
        try:
            ids = tokens(20, 3)
            results = engine.submit(
                [Segment(ids, engine.root, read=rows) for rows in (few, many, ROWS, many)]
            ).wait(60)
            assert [result.reason for result in results] == [""] * 4
            assert results[1].logits.tobytes() == np.tile(results[0].logits, 6).tobytes()
            assert results[3].logits.tobytes() == results[1].logits.tobytes()
            assert results[2].logits.tobytes() == results[0].logits[ROWS].tobytes()
            found.add(results[0].logits.tobytes())
        finally:
            engine.close()
    assert len(found) == 1
