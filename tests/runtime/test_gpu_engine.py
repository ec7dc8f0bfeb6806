"""An engine on a GPU: what is missing is named; and all but the GPU itself, emulated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from stepguard.errors import RuntimeMissingError
from stepguard.runtime import Engine, Result, Segment, State
from stepguard.runtime._cuda import LIBRARY, cuda_device, default_gpu_memory, find_cuda_library

Ids = npt.NDArray[np.int32]
ROWS = np.array([1, 5, 9, 30], np.int32)
RNG = np.random.default_rng(4)
TEXT, QUESTION = (RNG.integers(0, 200, count).astype(np.int32) for count in (110, 9))
CASES = [
    ("tiny", "float32", "fp32", "fp32"),
    ("tiny", "int8", "fp16", "int8"),
    ("tiny", "int4", "fp16", "int8"),
    ("tiny", "int4", "fp16", "fp32"),
    ("hybrid", "int8", "fp16", "fp32"),
    ("hybrid", "int4", "fp16", "int8"),
]


def test_an_unknown_device_is_refused(tiny_models: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="device: expected 'cpu', 'cuda' or 'cuda,cpu', got 'gpu'"):
        Engine(tiny_models["int8"], device="gpu")


def test_a_missing_library_is_named(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepguard.runtime._core.__file__", str(tmp_path / "_core.so"))
    with pytest.raises(RuntimeMissingError, match=f"{LIBRARY}.*built without it.*STEPGUARD_CUDA"):
        Engine(tiny_models["int8"], device="cuda")
    (tmp_path / LIBRARY).write_bytes(b"")
    assert find_cuda_library() == str(tmp_path / LIBRARY)


def test_another_library_is_named(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    no_library = tmp_path / "no.so"
    no_library.write_bytes(b"no ELF")
    for path, got in ((no_library, "no.so"), (tmp_path / "none.so", "No such file")):
        with pytest.raises(RuntimeMissingError, match=f"a library that can be opened.*{got}"):
            Engine(tiny_models["int8"], device="cuda", cuda_library=str(path), memory=1 << 24)


def test_the_device_is_described(emulated: str) -> None:
    assert cuda_device(emulated) == "emulated on the host"
    assert default_gpu_memory(emulated) == 4 << 30


@pytest.fixture(params=CASES, ids="-".join)
def setting(request: pytest.FixtureRequest, emulated: str) -> dict[str, object]:
    model, quant, kv, activations = request.param
    folder = request.getfixturevalue(f"{model}_models")[quant]
    cuda = {"device": "cuda", "cuda_library": emulated}
    return {"folder": folder, "kv": kv, "activations": activations, **cuda}


def open_engine(setting: dict[str, object], **changes: object) -> Engine:
    common = {"threads": 1, "memory": 16 << 20}
    return Engine(**{**common, **setting, **changes})  # type: ignore[arg-type]


@pytest.fixture
def engine(setting: dict[str, object]) -> Iterator[Engine]:
    engine = open_engine(setting)
    assert engine.isa == "cuda, emulated on the host"
    yield engine
    engine.close()


def run(engine: Engine, *segments: Segment) -> list[Result]:
    results = engine.submit(segments).wait(60)
    for result in results:
        assert result.reason == "", result.message
    return results


def bits(result: Result) -> bytes:
    parts = (result.logits, result.hidden, result.next, result.next_score)
    return b"".join(np.asarray(part).tobytes() for part in parts)


def read(engine: Engine, parent: State, ids: Ids) -> bytes:
    return bits(run(engine, Segment(ids, parent, read=ROWS, next=True))[0])


def keep(engine: Engine, parent: State, ids: Ids) -> State:
    state = run(engine, Segment(ids, parent, keep=True))[0].state
    assert state is not None
    return state


def test_the_same_answers_as_a_cpu(engine: Engine, setting: dict[str, object]) -> None:
    reference = open_engine(setting, device="cpu", isa="generic")
    segment = [Segment(TEXT, e.root, read=ROWS, next=True) for e in (engine, reference)]
    ours, theirs = run(engine, segment[0])[0], run(reference, segment[1])[0]
    reference.close()
    # Where rows are rounded to integers, a last bit may move one of them to the next integer.
    allowed = (
        2e-5 if setting["kv"] == "fp32" else 1e-2 if setting["activations"] == "fp32" else 5e-2
    )
    for got, wanted in ((ours.logits, theirs.logits), (ours.hidden, theirs.hidden)):
        assert np.abs(got - wanted).max() < allowed * (1 + np.abs(wanted).max())
    assert ours.next == theirs.next
    assert abs(ours.next_score - theirs.next_score) < 20 * allowed


def test_the_law(engine: Engine, setting: dict[str, object]) -> None:
    """One shot, step by step, in chunks, beside strangers, and after a fork: the same bits."""
    expected = read(engine, engine.root, np.concatenate([TEXT, QUESTION]))
    for borders in ((32,), (31, 33, 34), (1, 64, 96)):
        state = engine.root
        for part in np.split(TEXT, borders):
            state = keep(engine, state, part)
            read(engine, state, QUESTION[::-1].copy())
        assert read(engine, state, QUESTION) == expected
    restored = engine.restore(engine.save(state))
    assert read(engine, restored, QUESTION) == expected
    strangers = [Segment(TEXT[i : 3 * i + 1], engine.root, read=ROWS, next=True) for i in range(4)]
    chain = [
        Segment(TEXT[:47], engine.root),
        Segment(TEXT[47:], 0),
        Segment(TEXT[:20], 0, read=ROWS, next=True),
        Segment(QUESTION, 1, read=ROWS, next=True),
    ]
    assert bits(run(engine, *chain, *strangers)[3]) == expected
    small = open_engine(setting, chunk=16)
    assert read(small, small.root, np.concatenate([TEXT, QUESTION])) == expected
    small.close()
