"""The compiled core: engine, states and kernel tables."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

PAGE_TOKENS: int

class State:
    """All that the model remembers after reading `length` tokens; freed with its last reference."""

    @property
    def length(self) -> int: ...

class Result:
    """What became of one segment."""

    @property
    def state(self) -> State | None: ...
    @property
    def logits(self) -> npt.NDArray[np.float32]: ...
    @property
    def hidden(self) -> npt.NDArray[np.float32]: ...
    @property
    def next(self) -> int: ...
    @property
    def next_score(self) -> float: ...
    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...

class Ticket:
    """A submitted forest."""

    def wait(self, seconds: float) -> list[Result] | None: ...
    def cancel(self) -> None: ...

class Engine:
    """Owns the arenas and the worker thread."""

    def __init__(
        self,
        *,
        model_path: str,
        ort_path: str,
        isa: str,
        threads: int,
        kv_half: bool,
        activations: int,
        memory: int,
        row_bytes: int,
        chunk: int,
        layers: int,
        kv_heads: int,
        head_dim: int,
        delta_layers: int,
        conv_floats: int,
        delta_floats: int,
        vocabulary: int,
        context: int,
        budget: float,
        watched: Sequence[str],
        cuda_path: str,
        gpu_memory: int,
    ) -> None: ...
    def submit(
        self,
        segments: Sequence[
            tuple[npt.NDArray[np.int32], State | int, bool, bool, npt.NDArray[np.int32], bool]
        ],
        seconds: float,
    ) -> Ticket: ...
    def save(self, state: State) -> bytes: ...
    def restore(self, data: bytes) -> State: ...
    @property
    def root(self) -> State: ...
    @property
    def isa(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def writes(self) -> bool: ...
    @property
    def ort_version(self) -> str: ...
    def stats(self) -> dict[str, int | float]: ...
    def close(self) -> None: ...

class Screen:
    """An encoder classifier in a session of its own."""

    def __init__(self, *, model_path: str, ort_path: str, threads: int) -> None: ...
    def run(
        self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]: ...

def isa_tables() -> list[tuple[str, str]]: ...
def isa_problem(name: str) -> str: ...
def multiplies_bfloat16(name: str) -> bool: ...
def ort_library(path: str) -> tuple[str, str]: ...
def is_loaded(path: str) -> bool: ...
def cuda_device(path: str) -> tuple[str, int]: ...
def measure_cuda_bandwidth(path: str, bytes: int) -> float: ...
def measure_peaks(threads: int) -> list[tuple[str, float]]: ...
def measure_op(
    op: str,
    sizes: dict[str, int],
    tables: Sequence[str],
    threads: int,
    seconds: float,
    allowed: float,
) -> tuple[str, float, float, list[tuple[str, float, float]]]: ...
