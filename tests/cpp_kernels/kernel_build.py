"""Builds the kernel tables as a library that ctypes can load."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
COMPILERS = ("c++", "g++", "clang++")
EMULATION = "#include <simde/x86/avx512.h>\n#if !defined(__AVX2__)\n#error not an x86\n#endif\n"


def missing_tool(emulate: bool = False) -> str | None:
    """What the build needs and this machine lacks, or None."""
    if shutil.which("cmake") is None:
        return "cmake"
    if shutil.which("ninja") is None:
        return "ninja"
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        return "a C++ compiler"
    if emulate:
        command = [compiler, "-mavx2", "-x", "c++", "-fsyntax-only", "-"]
        done = subprocess.run(command, input=EMULATION, text=True, capture_output=True, check=False)
        if done.returncode != 0:
            return "an x86-64 and SIMDe (Debian: libsimde-dev)"
    return None


def build(emulate: bool = False) -> Path:
    """Configures once, compiles what changed, and returns the folder of the kernel libraries."""
    folder = ROOT / "build" / ("emulate" if emulate else "tests")
    options = ["-DSTEPGUARD_TESTS=ON", "-DSTEPGUARD_EXTENSION=OFF", "-DCMAKE_BUILD_TYPE=Release"]
    options += ["-DSTEPGUARD_EMULATE=ON"] if emulate else []
    targets = ["stepguard_kernels_capi", "stepguard_kernels_test", "stepguard_cuda_emulated"]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):  # tests may run in several processes
        _run(["cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja", *options])
        _run(["cmake", "--build", str(folder), "--parallel", "2", "--target", *targets])
    return folder / "cpp_kernels"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
