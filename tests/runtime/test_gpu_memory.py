"""Which device computes, and a limit on what is taken of a GPU, over the emulated one."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from stepguard import Guard
from stepguard.errors import RuntimeMissingError
from stepguard.prefix_store import PrefixKey, PrefixStore
from stepguard.prompt import Step, Trajectory
from stepguard.runtime import Engine, Segment, _core
from stepguard.runtime._cuda import LIBRARY, default_gpu_memory
from stepguard.runtime._device import MIB, Place, Wish, gpu_place, open_on_device

PLENTY = 1 << 40
TEXT = np.random.default_rng(4).integers(0, 200, 450).astype(np.int32)
USER = Step.user("please tidy the folder")
ACTION = Step.agent(action="rm -r /tmp/a " * 20)
TRAJECTORY = Trajectory(profile="", steps=(USER, ACTION))


@pytest.fixture
def library(emulated: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The emulated library, which guards find, too."""
    monkeypatch.setattr("stepguard.runtime._device.find_cuda_library", lambda: emulated)
    return emulated


@pytest.fixture
def set_left(emulated: str) -> Iterator[Callable[[int], None]]:
    """Says how many bytes can still be allocated on the device; in the end, plenty."""
    function = ctypes.CDLL(emulated).stepguard_emulated_left
    function.argtypes = [ctypes.c_size_t]
    yield function
    function(PLENTY)


def left(library: str) -> int:
    """Bytes that can still be allocated."""
    return _core.cuda_device(library)[1]


def load(folder: Path, **options: object) -> Guard:
    common = {"save_prefix": False, "threads": 1, "device": "cuda", "kv": "fp32"}
    return Guard.load(folder, **{**common, **options})  # type: ignore[arg-type]


def test_the_cpu_takes_over_only_when_asked_for(
    tiny_models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("stepguard.runtime._core.__file__", str(tmp_path / "_core.so"))
    with pytest.raises(RuntimeMissingError, match=LIBRARY):
        load(tiny_models["int4"])
    assert "the CPU is used" not in caplog.text
    with (
        caplog.at_level(logging.WARNING),
        load(tiny_models["int4"], device="cuda,cpu", gpu_memory=5) as guard,
    ):
        assert guard.device == "cpu"
        assert not guard.isa.startswith("cuda")
    assert "the CPU is used, as was asked for: device 'cuda': expected the library" in caplog.text


def test_the_first_device_is_used_where_it_can_be(
    tiny_models: dict[str, Path], library: str
) -> None:
    with load(tiny_models["int4"], device="cuda,cpu", memory=1 << 24) as guard:
        assert guard.device == "cuda"
        assert guard.isa == "cuda, emulated on the host"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"device": "CUDA"}, "device: expected 'cpu', 'cuda' or 'cuda,cpu', got 'CUDA'"),
        ({"device": "cpu,cuda"}, "device: expected"),
        ({"device": ""}, "device: expected"),
        ({"device": None}, "device: expected"),
        ({"device": ["cuda"]}, "device: expected"),
        ({"gpu_memory": -1}, "gpu_memory: expected whole MiB from 1 to 2\\^30, got -1"),
        ({"gpu_memory": 0}, "gpu_memory: expected whole MiB"),
        ({"gpu_memory": 1.5}, "gpu_memory: expected whole MiB"),
        ({"gpu_memory": True}, "gpu_memory: expected whole MiB"),
        ({"gpu_memory": "64"}, "gpu_memory: expected whole MiB"),
        ({"gpu_memory": 1 << 70}, "gpu_memory: expected whole MiB"),
        ({"gpu_memory": 8, "device": "cpu"}, "gpu_memory: goes with the device 'cuda', got"),
        ({"gpu_memory": 8, "memory": 8 << 20}, "gpu_memory: expected at least 11 MiB"),
        ({"gpu_memory": 8, "memory": -1}, "memory: expected 1 to"),
    ],
)
def test_wrong_wishes_are_named(
    tiny_models: dict[str, Path], library: str, options: dict[str, object], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        load(tiny_models["int4"], **options)


def test_weights_have_their_part_of_the_limit() -> None:
    wish = Wish("cuda", None, 1000, "lib.so", 600 * MIB)
    place = gpu_place(Wish("cuda", 50 * MIB, 1000, "lib.so", 600 * MIB))
    assert (place.memory, place.gpu_memory) == (50 * MIB, 1000 * MIB)
    with pytest.raises(ValueError, match="expected at least 601 MiB, 600 of them for the weights"):
        gpu_place(Wish("cuda", None, 600, "lib.so", wish.weights))


def test_what_is_free_bounds_the_limit(library: str, set_left: Callable[[int], None]) -> None:
    wish = Wish("cuda", None, 1000, library, 600 * MIB)
    assert gpu_place(wish).memory == 320 * MIB
    set_left(400 * MIB)
    assert gpu_place(wish).memory == 100 * MIB == default_gpu_memory(library)


@pytest.mark.parametrize("model", ["tiny", "hybrid"])
def test_no_more_than_the_limit_is_taken(
    model: str, request: pytest.FixtureRequest, library: str, set_left: Callable[[int], None]
) -> None:
    """Long reads at the most tokens of a forward fit, and give the bits of an unlimited engine."""
    folder = request.getfixturevalue(f"{model}_models")["int4"]
    rows = np.arange(30, dtype=np.int32)
    settings = {"device": "cuda", "cuda_library": library, "kv": "fp32"}
    before, answers = left(library), []
    for limit in (None, 24):
        engine = Engine(folder, gpu_memory=limit, **settings)  # type: ignore[arg-type]
        for _ in range(2):
            (result,) = engine.submit([Segment(TEXT, engine.root, read=rows, keep=True)]).wait(120)
            assert result.reason == "", result.message
        answers.append(result.logits.tobytes())
        if limit is not None:
            # ONNX Runtime's own part lies on the host here: weights and rows.
            own = before - left(library) + (folder / "weights.bin").stat().st_size
            assert own <= limit * MIB * 9 // 10
            assert own > limit * MIB // 2
        engine.close()
        assert left(library) == before  # though the engine and a State of it are still held
    assert answers[0] == answers[1]


def test_a_limit_too_small_for_the_rest_is_named(library: str) -> None:
    def make(place: Place) -> None:
        raise ValueError(f"memory: expected at least 99 bytes, got {place.memory}")

    with pytest.raises(ValueError, match=r"gpu_memory: 10 MiB with 5 of weights .*at least 99"):
        open_on_device(Wish("cuda", None, 10, library, 5 * MIB), make)
    with pytest.raises(ValueError, match=r"^memory: expected at least 99"):
        open_on_device(Wish("cuda", 1 << 20, None, library, 5 * MIB), make)


def test_no_memory_at_load_is_named(
    tiny_models: dict[str, Path],
    library: str,
    set_left: Callable[[int], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    set_left(1 << 20)
    with pytest.raises(RuntimeMissingError, match=r"about .* MiB of free memory on the GPU"):
        load(tiny_models["int4"], memory=16 << 20)
    assert left(library) == 1 << 20
    with load(tiny_models["int4"], memory=16 << 20, device="cuda,cpu") as guard:
        assert guard.device == "cpu"
    assert "free memory on the GPU" in caplog.text


def test_a_gpu_that_fills_up_while_a_guard_is_loaded(
    tiny_models: dict[str, Path], library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named, and everything is given back: the prefix is read once the arenas are there."""
    before, submit = left(library), Engine.submit
    function = ctypes.CDLL(library).stepguard_emulated_left
    function.argtypes = [ctypes.c_size_t]
    rest: list[int] = []

    def submit_full(engine: Engine, *words: object, **more: object) -> object:
        rest.append(left(library))
        function(0)
        return submit(engine, *words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "submit", submit_full)
    try:
        with pytest.raises(RuntimeMissingError, match=r"memory on the GPU .*no scratch on the GPU"):
            load(tiny_models["int4"], memory=32 << 20, budget_ms=3.6e6)
    finally:
        function(left(library) + rest[0])
    assert left(library) == before


def test_a_session_outlives_a_gpu_without_memory(
    tiny_models: dict[str, Path], library: str, set_left: Callable[[int], None]
) -> None:
    """The agent's own model takes the rest of the GPU while a step is read, and gives it back."""
    with load(tiny_models["int4"], memory=32 << 20, budget_ms=3.6e6) as guard:
        with guard.session() as session:
            session.observe(USER)
            before = session.check(Step.agent(action="ls"))
            session.reject(before)
            set_left(0)
            poor = session.check(ACTION)
            assert (poor.status, poor.reason, poor.allowed) == ("unavailable", "memory", False)
            session.reject(poor)
            set_left(PLENTY)
            verdict = session.push(ACTION)
        with guard.session() as session:
            session.observe(USER)
            assert session.push(ACTION).margin == verdict.margin
        assert before.status != "unavailable"
        assert verdict.status != "unavailable"


def test_two_guards_on_one_device(
    tiny_models: dict[str, Path], library: str, set_left: Callable[[int], None]
) -> None:
    with load(tiny_models["int4"], gpu_memory=16) as first:
        alone = first.moderate(TRAJECTORY)
        with load(tiny_models["int4"], gpu_memory=16) as second:
            beside = [g.moderate(TRAJECTORY) for g in (first, second)]
        assert [v.margin for vs in beside for v in vs] == [alone[0].margin] * 2
        after = first.moderate(TRAJECTORY)
        assert after[0].margin == alone[0].margin


def test_close_while_work_waits(tiny_models: dict[str, Path], library: str) -> None:
    engine = Engine(tiny_models["int4"], device="cuda", cuda_library=library, gpu_memory=24)
    tickets = [engine.submit([Segment(TEXT, engine.root)]) for _ in range(40)]
    closing = threading.Thread(target=engine.close)
    closing.start()
    reasons = {ticket.wait(60)[0].reason for ticket in tickets}
    closing.join(60)
    assert not closing.is_alive()
    assert "closing" in reasons
    assert reasons <= {"", "closing"}


def test_a_gpu_that_refuses_to_copy_saves_no_prefix(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing:
        def save(self, state: object) -> bytes:
            raise RuntimeError("the GPU refused: unspecified launch failure")

        def restore(self, data: bytes) -> object:
            raise RuntimeError("the GPU refused: unspecified launch failure")

    class Holding(Refusing):
        def save(self, state: object) -> bytes:
            return b"a state"

    words = ("model", "prefix", "isa", "kv", "activations", "ort")
    store = PrefixStore(tmp_path / "prefix", PrefixKey(**dict.fromkeys(words, "x")), 3)
    store.save(Refusing(), None)  # type: ignore[arg-type]
    assert store.load(Refusing()) is None  # type: ignore[arg-type]
    assert "the GPU refused" not in caplog.text  # there is no file
    store.save(Holding(), None)  # type: ignore[arg-type]
    assert store.load(Refusing()) is None  # type: ignore[arg-type]
    assert "the saved prefix is not used: the GPU refused" in caplog.text


def test_a_child_of_a_fork_leaves_the_gpu_alone(tiny_models: dict[str, Path], library: str) -> None:
    engine = Engine(tiny_models["int4"], device="cuda", cuda_library=library, gpu_memory=24)
    before = left(library)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            engine.submit([Segment(TEXT, engine.root)])
        except Exception as error:
            del engine
            status = 0 if type(error).__name__ == "ForkedProcessError" else 2
            status = status if left(library) == before else 3
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    (result,) = engine.submit([Segment(TEXT, engine.root)]).wait(60)
    assert result.reason == ""
    engine.close()
