"""Measurements on a GPU: what is missing is said before anything is made; and all pure parts."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepguard.bench.gpu import Gpu, GpuPeaks, find_gpu, measure_gpu, weights_floor_ms
from stepguard.bench.latency.devices import our_setup, peers_on
from stepguard.bench.latency.engines import Wanted
from stepguard.bench.latency.measure import Case
from stepguard.bench.latency.ours import Ours
from stepguard.bench.latency.peer import Setting, gpu_layers
from stepguard.bench.latency.report import engines_text, latency_table
from stepguard.bench.work import Op, operations_of
from stepguard.cli import main
from stepguard.cli.show import console
from stepguard.errors import RuntimeMissingError
from stepguard.runtime import _core
from stepguard.runtime._cuda import LIBRARY
from tests.bench.conftest import SMALL
from tests.cpp_kernels.kernel_build import build, missing_tool

ROWS = np.arange(0, 400, 3, dtype=np.int32)


@pytest.fixture(scope="module")
def emulated() -> str:
    missing = missing_tool()
    if missing is not None:
        pytest.skip(f"building the kernels needs {missing}")
    return str(build() / "libstepguard_cuda_emulated.so")


@pytest.fixture
def no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepguard.runtime._core.__file__", str(tmp_path / "_core.so"))


@pytest.mark.parametrize(
    "words",
    [
        ("latency", "--shape", "smollm2-135m"),
        ("prefill", "--shape", "smollm2-135m"),
        ("throughput", "--shape", "smollm2-135m"),
        ("sizes", "--shapes", "smollm2-135m"),
        ("memory", "--shape", "smollm2-135m"),
    ],
)
@pytest.mark.usefixtures("no_library")
def test_what_is_missing_is_said_first(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    status = main(["bench", *words, "--device", "cuda", "--work", str(work)])
    assert status == 1
    said = capsys.readouterr().err
    assert "RuntimeMissingError: device 'cuda': expected the library of GPU kernels" in said
    assert LIBRARY in said
    assert not work.exists() or not list(work.iterdir())
    with pytest.raises(RuntimeMissingError, match=LIBRARY):
        our_setup(1, "cuda")


def test_a_model_directory_on_a_gpu_that_is_not_there(
    tmp_path: Path, no_library: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("memory", "throughput"):
        assert main(["bench", name, str(tmp_path / "guard"), "--device", "cuda"]) == 1
        assert LIBRARY in capsys.readouterr().err


@pytest.mark.parametrize("name", ["gpu", "cuda,cpu", "CUDA", ""])
def test_another_device_is_wrong_usage(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "latency", "--shape", "smollm2-135m", "--device", name])
    assert ended.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


def test_peers_of_a_device() -> None:
    names = ["genai", "llama.cpp", "transformers", "openvino"]
    assert peers_on("cpu", names) == (names, {})
    there = {"vllm": "0.11.0"}
    found, reasons = peers_on("cuda", names, there.get)
    assert found == ["llama.cpp", "transformers"]
    assert reasons.keys() == {"genai", "openvino", "vllm", "sglang"}
    assert "CPU only" in reasons["genai"]
    assert reasons["vllm"].startswith("0.11.0 is installed: it gives no logits")
    assert reasons["sglang"] == "not installed"
    assert peers_on("cuda", [], there.get) == ([], {})
    text = engines_text({"stepguard": "1"}, reasons)
    assert "not measured: sglang (not installed)" in text


def test_peers_without_a_gpu_are_missing(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    from stepguard.bench.latency.torch_peer import Transformers

    with pytest.raises(ImportError, match="finds no GPU"):
        Transformers(Setting(tmp_path, ROWS, 1, 100, {"device": "cuda"}))


def test_a_llama_cpp_without_cuda_is_missing() -> None:
    assert gpu_layers("cpu", True) == gpu_layers("cpu", False) == 0
    assert gpu_layers("cuda", True) > 200
    with pytest.raises(ImportError, match="built without CUDA"):
        gpu_layers("cuda", False)


def test_the_floor_of_weights() -> None:
    sizes = {"n": 64, "k": 128, "format": 2, "activations": 1, "epilogue": 0}
    ops = [Op("q", "linear", sizes, count=3), Op("norm", "rms_norm", {"width": 64}, count=9)]
    peaks = GpuPeaks(1, 1e9, {})
    # Half a byte a weight, and two bytes for each 32 of them.
    wanted = 1000 * 3 * (64 * 128 // 2 + 64 * 128 // 32 * 2) / 1e9
    assert weights_floor_ms(ops, peaks) == {"Linear": pytest.approx(wanted)}
    assert weights_floor_ms(ops, GpuPeaks(1, 4e9, {}))["Linear"] == pytest.approx(wanted / 4)


@pytest.mark.parametrize("name", SMALL)
def test_the_floor_counts_what_is_in_the_file(small: Any, name: str, tmp_path: Path) -> None:
    """As many bytes as the matrices of an int4 export have, read from its graph."""
    onnx = pytest.importorskip("onnx")
    from stepguard.bench.latency.grid import write_ours

    write_ours(small[name], tmp_path / "guard", 0, None)
    graph = onnx.load(str(tmp_path / "guard" / "model.onnx"), load_external_data=False).graph
    inputs = {i for node in graph.node if node.op_type == "Linear" for i in node.input}
    sizes = {
        t.name: int({e.key: e.value for e in t.external_data}["length"])
        for t in graph.initializer
        if t.name in inputs and t.external_data and len(t.dims) > 1  # no bias
    }
    floor = weights_floor_ms(operations_of(small[name].shape), GpuPeaks(1, 1e9, {}))
    assert floor["Linear"] * 1e6 == pytest.approx(sum(sizes.values()), rel=0.01)


def test_the_table_says_how_much_of_the_floor_is_reached() -> None:
    case = Case(
        "step 16", 16, times={"stepguard": [8.0], "transformers": [20.0]}, floor={"Linear": 2}
    )
    out = console()
    with out.capture() as captured:
        out.print(latency_table([case], "on a GPU"))
    assert "2 (25%)" in captured.get()
    assert "2.50" in captured.get()
    assert "memory 3,000.0 GB/s, read" in GpuPeaks(1, 3e12, {}).line()


def test_bandwidth_is_measured(emulated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepguard.bench.gpu.find_cuda_library", lambda: emulated)
    gpu = find_gpu()
    assert gpu.name == "emulated on the host"
    peaks = measure_gpu(gpu, most=1 << 20)
    assert 1e6 < peaks.memory < 1e13
    assert peaks.of("cuda", "int8") is None
    assert find_gpu().free == gpu.free  # given back
    assert our_setup(4, "cuda").isa == "cuda, emulated on the host"
    for size in (0, -16, 17):
        with pytest.raises(ValueError, match="bytes: expected a multiple of 16"):
            _core.measure_cuda_bandwidth(emulated, size)


def test_a_full_gpu_has_no_bandwidth(emulated: str) -> None:
    left = ctypes.CDLL(emulated).stepguard_emulated_left
    left.argtypes = [ctypes.c_size_t]
    left(100)
    try:
        with pytest.raises(MemoryError):
            measure_gpu(Gpu(emulated, "a full one", 1 << 20))
    finally:
        left(1 << 40)


def test_ours_on_a_gpu_gives_the_logits_of_a_cpu(small: Any, tmp_path: Path, emulated: str) -> None:
    from stepguard.bench.latency.grid import write_ours

    assert Wanted(None, [], 0, 1, 10).device == "cpu"
    write_ours(small["qwen3-8b"], tmp_path / "guard", 0, None)
    common = {"kv": "fp16", "activations": "int8", "memory": 1 << 24}
    devices = ({"device": "cuda", "cuda_library": emulated}, {"device": "cpu", "isa": "generic"})
    answers = []
    for device in devices:
        ours = Ours(Setting(tmp_path / "guard", ROWS, 1, 200, {**common, **device}))
        ours.read(np.arange(5, 40, dtype=np.int32))
        answers.append(ours.step(np.arange(40, 48, dtype=np.int32), np.array([7, 8], np.int32))[1])
    gpu, cpu = (answer.astype(np.float64) for answer in answers)
    assert gpu @ cpu / np.linalg.norm(gpu) / np.linalg.norm(cpu) > 0.999
