"""The library of GPU kernels, and what an engine takes of a GPU when nobody says."""

from __future__ import annotations

from pathlib import Path

from stepguard.errors import RuntimeMissingError
from stepguard.runtime import _core

LIBRARY = "libstepguard_cuda.so"
_MOST = 4 << 30


def find_cuda_library() -> str:
    """The path of the library, which lies beside the compiled core.

    Raises:
        RuntimeMissingError: this installation was built without it.
    """
    path = Path(_core.__file__).with_name(LIBRARY)
    if not path.exists():
        raise RuntimeMissingError(
            "device 'cuda'",
            expected=f"the library of GPU kernels, {path}",
            got="none: this installation was built without it",
            fix="Build it where nvcc 13 is: pip install '.[gpu]' "
            "-C cmake.define.STEPGUARD_CUDA=ON, or leave out device='cuda'.",
        )
    return str(path)


def cuda_device(path: str) -> str:
    """The GPU that an engine would use, in words.

    Raises:
        RuntimeMissingError: there is no GPU, or no driver for it.
    """
    return _core.cuda_device(path)[0]


def default_gpu_memory(path: str) -> int:
    """Bytes for KV pages, slots and scratch: a quarter of what is free on the GPU, at most 4 GiB.

    Raises:
        RuntimeMissingError: there is no GPU, or no driver for it.
    """
    return min(_core.cuda_device(path)[1] // 4, _MOST)
