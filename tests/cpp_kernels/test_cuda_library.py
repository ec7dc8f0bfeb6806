"""The library of GPU kernels as nvcc makes it, where `make cuda` has done so."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from kernel_build import ROOT

from stepguard.errors import RuntimeMissingError
from stepguard.runtime._cuda import cuda_device

BUILT = ROOT / "build" / "cuda" / "cpp_kernels" / "cuda" / "libstepguard_cuda.so"
CHECK = ROOT / "build" / "tests" / "cpp_kernels" / "cuda_ops_check"


@pytest.fixture
def library() -> Path:
    if not BUILT.exists():
        pytest.skip("make cuda has not built the library (it needs nvcc 13)")
    return BUILT


def test_it_needs_no_cuda_library_to_load(library: Path) -> None:
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("no readelf")
    done = subprocess.run([readelf, "-d", library], capture_output=True, text=True, check=True)
    needed = [line for line in done.stdout.splitlines() if "NEEDED" in line]
    assert needed
    assert not [line for line in needed if "cuda" in line or "nvidia" in line]


def test_a_machine_without_a_gpu_is_told_what_is_missing(library: Path) -> None:
    found, error = "", None
    try:
        found = cuda_device(str(library))
    except RuntimeMissingError as refusal:
        error = refusal
    if error is None:
        pytest.skip(f"this machine has one: {found}")
    assert error.expected == "a GPU with its driver"
    assert "no NVIDIA driver for CUDA" in error.got or "no GPU" in error.got
    assert "leave out device='cuda'" in error.fix


@pytest.mark.cuda
def test_every_operation_on_the_gpu(library: Path) -> None:
    done = subprocess.run([CHECK, library], capture_output=True, text=True, check=False)
    if done.returncode == 2:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout
