"""A GPU that something is measured on: which, how fast it reads, and the floor that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stepguard.bench.peaks import Peaks
from stepguard.bench.work import Op
from stepguard.runtime import _core
from stepguard.runtime._cuda import find_cuda_library

# Far beyond any cache of a GPU, where there is room for it.
_READ = 1 << 30


@dataclass(frozen=True)
class Gpu:
    """kernels: path of the library of GPU kernels. free: bytes of its memory that nobody uses."""

    kernels: str
    name: str
    free: int


@dataclass(frozen=True)
class GpuPeaks(Peaks):
    """memory: bytes a second that a GPU reads; its arithmetic is not measured."""

    def line(self) -> str:
        """For people."""
        return f"peak of the GPU: memory {self.memory / 1e9:,.1f} GB/s, read"


def find_gpu() -> Gpu:
    """The GPU that an engine would use.

    Raises:
        RuntimeMissingError: no library of GPU kernels, no driver or no GPU; says which.
    """
    library = find_cuda_library()
    name, free = _core.cuda_device(library)
    return Gpu(library, name, free)


def measure_gpu(gpu: Gpu, most: int = _READ) -> GpuPeaks:
    """Reads up to `most` bytes of the GPU's memory some times, a quarter of what is free."""
    size = max(16, min(most, gpu.free // 4) // 16 * 16)
    return GpuPeaks(1, _core.measure_cuda_bandwidth(gpu.kernels, size), {})


def weights_floor_ms(ops: Sequence[Op], peaks: Peaks) -> dict[str, float]:
    """Milliseconds to read all weights of the Linears once, which no forward can do without."""
    linears = [op for op in ops if op.op == "linear"]
    size = sum(op.count * op.work(1, 1).bytes for op in linears)
    return {"Linear": 1000 * size / peaks.memory}
