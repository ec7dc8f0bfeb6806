"""What a number was measured on. A number without it is no number."""

from __future__ import annotations

import dataclasses
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stepguard import __version__
from stepguard.runtime import usable_cores


class Engine(Protocol):
    """How an engine was set up: of this process, or of one that ran a measurement."""

    @property
    def ort_version(self) -> str:
        """Version of the ONNX Runtime library."""

    @property
    def isa(self) -> str:
        """Name of the kernel table."""

    @property
    def threads(self) -> int:
        """Threads of a forward pass."""

    @property
    def kv(self) -> str:
        """Type of the KV pages."""

    @property
    def activations(self) -> str:
        """What int4 and int8 weights are multiplied with."""


@dataclass(frozen=True)
class Setup:
    """What another process said about its engine."""

    ort_version: str
    isa: str
    threads: int
    kv: str
    activations: str


@dataclass(frozen=True)
class Machine:
    """Processor, versions and how the engine was set up."""

    cpu: str
    cores: int
    """Cores that this process may run on."""
    memory_gib: float
    system: str
    python: str
    stepguard: str
    onnxruntime: str
    isa: str
    threads: int
    kv: str
    activations: str
    load: float
    """Runnable processes of the whole machine in the minute before the measurement."""

    @property
    def busy(self) -> bool:
        """True when other programs took part of the cores, so that times mean little."""
        return self.load > 0.5 * self.cores

    def lines(self) -> list[str]:
        """Three lines for people."""
        return [
            f"{self.cpu}, {self.cores} cores, {self.memory_gib:.1f} GiB, load {self.load:.1f}",
            f"{self.isa}, {self.threads} threads, KV pages in {self.kv}, "
            f"activations in {self.activations}",
            f"stepguard {self.stepguard}, ONNX Runtime {self.onnxruntime}, "
            f"Python {self.python}, {self.system}",
        ]

    def to_dict(self) -> dict[str, str | int | float]:
        """Ready for JSON."""
        return dataclasses.asdict(self)


def load_now() -> float:
    """Runnable processes of the whole machine in the last minute."""
    return round(os.getloadavg()[0], 2)


def describe_machine(engine: Engine, load: float | None = None) -> Machine:
    """Describes this machine and the engine. Call it before anything is measured, or give the
    `load_now` of then."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cpu=cpu_name(),
        cores=usable_cores(),
        memory_gib=round(pages / (1 << 30), 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        stepguard=__version__,
        onnxruntime=engine.ort_version,
        isa=engine.isa,
        threads=engine.threads,
        kv=engine.kv,
        activations=engine.activations,
        load=load_now() if load is None else load,
    )


def cpu_name(path: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name; where the system does not tell it, its architecture."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.machine()
