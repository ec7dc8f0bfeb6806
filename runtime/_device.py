"""Where an engine computes, and how much it may take there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from stepguard.errors import RuntimeMissingError
from stepguard.runtime._cuda import default_gpu_memory, find_cuda_library
from stepguard.runtime._resources import default_memory

DEVICES = ("cpu", "cuda", "cuda,cpu")
MIB = 1 << 20
_MOST_MIB = 1 << 30
# Of what a limit leaves beside the weights: pages, slots and our scratch. The rest is for the rows
# between operations, which ONNX Runtime allocates; the core keeps the scratch of a forward, which
# they are bounded by as well, below a quarter of this share.
_SHARE = (4, 5)
_log = logging.getLogger("stepguard")
T = TypeVar("T")


@dataclass(frozen=True)
class Wish:
    """What `Engine` is asked for, see there. weights: bytes of them."""

    device: str
    memory: int | None
    gpu_memory: int | None
    cuda_library: str | None
    weights: int

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            expected = "'cpu', 'cuda' or 'cuda,cpu'"
            raise ValueError(f"device: expected {expected}, got {self.device!r}")
        limit = self.gpu_memory
        if limit is None:
            return
        if type(limit) is not int or not 1 <= limit <= _MOST_MIB:
            raise ValueError(f"gpu_memory: expected whole MiB from 1 to 2^30, got {limit!r}")
        if self.device == "cpu":
            raise ValueError("gpu_memory: goes with the device 'cuda', got the device 'cpu'")


@dataclass(frozen=True)
class Place:
    """A device, and bytes. cuda_path: the library of GPU kernels, "" for the CPU. memory: for
    pages, slots and scratch. gpu_memory: for all, the weights too; 0 for no limit."""

    cuda_path: str
    memory: int
    gpu_memory: int = 0


def open_on_device(wish: Wish, make: Callable[[Place], T]) -> T:
    """What `make` makes of the first device that can be used; the log says when that is another.

    Raises:
        RuntimeMissingError: the GPU cannot be used, or has not the memory.
        ValueError: a limit that is too small for the weights.
    """
    if wish.device == "cpu":
        return make(_on_cpu(wish))
    try:
        return _make_on_gpu(wish, make)
    except RuntimeMissingError as error:
        if wish.device == "cuda":
            raise
        _log.warning("the CPU is used, as was asked for: %s", error)
    return make(_on_cpu(wish))


def _on_cpu(wish: Wish) -> Place:
    return Place("", default_memory() if wish.memory is None else wish.memory)


def _make_on_gpu(wish: Wish, make: Callable[[Place], T]) -> T:
    place = gpu_place(wish)
    try:
        return make(place)
    except ValueError as error:
        if wish.gpu_memory is None or not str(error).startswith("memory:"):
            raise
        taken = f"{wish.gpu_memory:,} MiB with {_mib(wish.weights)} of weights"
        raise ValueError(f"gpu_memory: {taken} leave too little for the rest; {error}") from error
    except MemoryError:
        wanted = (place.gpu_memory or place.memory + wish.weights) / MIB
        raise RuntimeMissingError(
            "device 'cuda'",
            expected=f"about {wanted:,.0f} MiB of free memory on the GPU",
            got="less",
            fix="End what else uses the GPU, or give a smaller gpu_memory= or another device.",
        ) from None


def gpu_place(wish: Wish) -> Place:
    """The library of GPU kernels, and how its memory is divided.

    Raises:
        RuntimeMissingError: no library, no driver or no GPU.
        ValueError: the limit has no room for the weights, or not for `memory` beside them.
    """
    path = wish.cuda_library or find_cuda_library()
    if wish.gpu_memory is None:
        return Place(path, default_gpu_memory(path) if wish.memory is None else wish.memory)
    limit = wish.gpu_memory * MIB
    part, whole = _SHARE
    room = (limit - wish.weights) * part // whole
    least = 1 if wish.memory is None else wish.memory
    if room < least:
        needed = -(-(wish.weights + -(-least * whole // part)) // MIB)
        raise ValueError(
            f"gpu_memory: expected at least {needed:,} MiB, {_mib(wish.weights)} of them for the "
            f"weights, got {wish.gpu_memory:,}"
        )
    if wish.memory is not None:
        return Place(path, wish.memory, limit)
    return Place(path, min(default_gpu_memory(path), room), limit)


def _mib(count: int) -> str:
    return f"{-(-count // MIB):,}"
