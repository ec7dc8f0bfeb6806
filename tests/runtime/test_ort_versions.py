"""The op and law tests on the oldest and the newest wheel that the metadata allows, and on the
GPU wheel's CPU provider; and beside an imported `onnxruntime`, in both orders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WHEELS = ["onnxruntime==1.24.*", "onnxruntime==1.32.*", "onnxruntime-gpu==1.31.*"]


def unpack(wheel: str, cache: Path) -> Path:
    """The library of a wheel, unpacked beside the installed one, which is left alone."""
    folder = cache / wheel.replace("=", "").replace("*", "x")
    if not list(folder.glob("onnxruntime/capi/libonnxruntime.so*")):
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        done = subprocess.run(
            [*command, "--target", str(folder), wheel], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.skip(f"{wheel} cannot be had: {done.stderr.strip()[-200:]}")
    (library,) = folder.glob("onnxruntime/capi/libonnxruntime.so*")
    return library


@pytest.fixture(scope="session")
def wheel_cache() -> Path:
    return ROOT / "build" / "wheels"


@pytest.mark.slow
@pytest.mark.parametrize("wheel", WHEELS)
def test_laws_and_errors_hold_on(wheel: str, wheel_cache: Path) -> None:
    library = unpack(wheel, wheel_cache)
    files = [str(HERE / name) for name in ("test_laws.py", "test_engine.py")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files],
        env={**os.environ, "STEPGUARD_TEST_ORT": str(library)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


BESIDE = """
import sys
sys.path.insert(0, {target!r})
import numpy as np
from stepguard.runtime import Engine, Segment

def ours():
    engine = Engine({model!r}, memory=16 << 20, ort_library={library!r}, threads=1)
    ids = np.arange(40, dtype=np.int32)
    result = engine.submit([Segment(ids, engine.root, read=np.array([3], np.int32))]).wait(60)[0]
    version = engine.ort_version
    engine.close()
    assert result.reason == "", result.message
    return version, result.logits.tobytes()

def theirs():
    import onnx, onnxruntime
    from onnx import TensorProto, helper
    port = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])
    node = helper.make_node("Add", ["x", "x"], ["y"])
    graph = helper.make_graph([node], "g", [port("x")], [port("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(),
                                           providers=["CPUExecutionProvider"])
    assert session.run(None, {{"x": np.ones(2, np.float32)}})[0].tolist() == [2.0, 2.0]
    return onnxruntime.__version__

first = theirs() if {theirs_first} else ours()
second = ours() if {theirs_first} else theirs()
third = theirs() if {theirs_first} else ours()
assert first == third
print("both ran:", first[0] if not {theirs_first} else first)
"""


@pytest.mark.slow
@pytest.mark.parametrize("wheel", WHEELS)
@pytest.mark.parametrize("theirs_first", [False, True])
def test_beside_an_imported_onnxruntime(
    wheel: str, theirs_first: bool, wheel_cache: Path, tiny_models: dict[str, Path]
) -> None:
    library = unpack(wheel, wheel_cache)
    code = BESIDE.format(
        target=str(library.parent.parent.parent),
        model=str(tiny_models["int8"]),
        library=str(library),
        theirs_first=theirs_first,
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "both ran" in done.stdout
