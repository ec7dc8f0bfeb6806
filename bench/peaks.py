"""What this machine can do at most, measured: what speeds and floors are compared with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from stepguard.bench.work import Work
from stepguard.runtime import _core

# Instruction sets whose loops a table may use, the widest first.
_OF_TABLE = {
    "avx2": ("avx2",),
    "avxvnni": ("avxvnni", "avx2"),
    "avx512": ("avx512", "avx2"),
    "amx": ("amx", "avx512", "avx2"),
    "neon": ("neon",),
}
# Tiles multiply rows of more bits in parts: so many products of a kind that they have.
_PARTS_IN_TILES = {"fp32": ("bf16", 3), "int16": ("int8", 2)}


@dataclass(frozen=True)
class Peaks:
    """memory: bytes a second. operations: a second, by instruction set and kind ("avx2/int8")."""

    threads: int
    memory: float
    operations: Mapping[str, float]

    def of(self, table: str, kind: str) -> float | None:
        """Operations a second that a kernel table could do; None where none was measured."""
        names = (f"{isa}/{kind}" for isa in _OF_TABLE.get(table, ()))
        return next((self.operations[name] for name in names if name in self.operations), None)

    def of_work(self, table: str, work: Work) -> float | None:
        """Operations a second that a kernel table could do of that work; None as in `of`."""
        kind, parts = _PARTS_IN_TILES.get(work.arithmetic, ("", 1))
        tiles = self.operations.get(f"{table}/{kind}") if work.tiled and table == "amx" else None
        return self.of(table, work.arithmetic) if tiles is None else tiles / parts

    def least_seconds(self, table: str, work: Work) -> float | None:
        """The larger of bytes / bandwidth and operations / peak; None without such a peak."""
        peak = self.of_work(table, work)
        if peak is None:
            return None
        return max(work.bytes / self.memory, work.operations / peak)

    def bound(self, table: str, work: Work) -> str:
        """Which of both is the larger: "memory" or the kind of arithmetic; "" without a peak."""
        peak = self.of_work(table, work)
        if peak is None:
            return ""
        memory = work.bytes / self.memory > work.operations / peak
        return "memory" if memory else work.arithmetic

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON: 10^9 a second."""
        operations = {name: value / 1e9 for name, value in self.operations.items()}
        return {"threads": self.threads, "memory_gb_s": self.memory / 1e9, "gop_s": operations}

    def line(self) -> str:
        """For people."""
        parts = (f"{name} {value / 1e9:,.0f}" for name, value in self.operations.items())
        return (
            f"peaks of {self.threads} threads: memory {self.memory / 1e9:,.1f} GB/s; "
            f"GOP/s: {', '.join(parts) or 'not measured on this architecture'}"
        )


@functools.cache
def measure_peaks(threads: int) -> Peaks:
    """Takes about a second, once in a process. Beside other programs they come out too low."""
    found = {name: 1e9 * value for name, value in _core.measure_peaks(threads)}
    return Peaks(threads, found.pop("memory"), found)
