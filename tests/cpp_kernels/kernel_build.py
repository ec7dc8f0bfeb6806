"""Builds the kernel tables as a library that ctypes can load."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "tests"


def missing_tool() -> str | None:
    """What the build needs and this machine lacks, or None."""
    if shutil.which("cmake") is None:
        return "cmake"
    if shutil.which("ninja") is None:
        return "ninja"
    if all(shutil.which(name) is None for name in ("c++", "g++", "clang++")):
        return "a C++ compiler"
    return None


def build() -> Path:
    """Configures once, compiles what changed, and returns the folder of the kernel libraries."""
    options = ["-DSTEPGUARD_TESTS=ON", "-DSTEPGUARD_EXTENSION=OFF", "-DCMAKE_BUILD_TYPE=Release"]
    _run(["cmake", "-S", str(ROOT), "-B", str(BUILD), "-G", "Ninja", *options])
    targets = ["stepguard_kernels_capi", "stepguard_kernels_test"]
    _run(["cmake", "--build", str(BUILD), "--parallel", "2", "--target", *targets])
    return BUILD / "cpp_kernels"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
