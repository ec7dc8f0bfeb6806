"""The engine as Python sees it: a forest of segments in, a result per segment out."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stepguard.errors import ForkedProcessError, check_process
from stepguard.manifest import Manifest, load
from stepguard.runtime import _core
from stepguard.runtime._activations import ACTIVATIONS, activations_of
from stepguard.runtime._device import Place, Wish, open_on_device
from stepguard.runtime._isa import active_isa
from stepguard.runtime._library import find_onnxruntime
from stepguard.runtime._resources import default_threads, row_bytes

Ids = npt.NDArray[np.int32]
Result = _core.Result


def core_identity() -> str:
    """Changes whenever the compiled core does: size and time of its file."""
    found = Path(_core.__file__).stat()
    return f"{found.st_size}:{found.st_mtime_ns}"


_NO_IDS: Ids = np.empty(0, np.int32)


@dataclass(frozen=True, eq=False)
class Segment:
    """New tokens on a parent.

    tokens: int32 [n] token ids. parent: a State, or the index of an earlier segment of the same
    list. keep: make a State of its end. consume: the same for a parent that nobody needs again.
    read: int32 [r] output rows whose logits are wanted after the last token. next: the most likely
    next token is wanted there; only of an engine that `writes`.
    """

    tokens: Ids
    parent: _core.State | int
    keep: bool = False
    consume: bool = False
    read: Ids = field(default_factory=lambda: _NO_IDS)
    next: bool = False


class Ticket:
    """A submitted forest."""

    def __init__(self, inner: _core.Ticket) -> None:
        self._inner = inner
        self._results: list[Result] | None = None
        self._lock = threading.Lock()
        self._process = os.getpid()

    def wait(self, timeout: float | None = None) -> list[Result]:
        """The results, one per segment, in order.

        Raises:
            TimeoutError: `timeout` seconds passed first; the work goes on.
            ForkedProcessError: called in a child of fork(), where no result can come.
        """
        check_process(self._process, "this ticket")
        until = None if timeout is None else time.monotonic() + max(timeout, 0.0)
        if not self._lock.acquire(timeout=_seconds_left(until)):
            raise TimeoutError(f"no result within {timeout} s")
        try:
            if self._results is None:
                self._results = self._inner.wait(_seconds_left(until))
            if self._results is None:
                raise TimeoutError(f"no result within {timeout} s")
            return self._results
        finally:
            self._lock.release()

    def cancel(self) -> None:
        """Gives up what has not run yet; those segments end with reason `closing`."""
        self._inner.cancel()


def _seconds_left(until: float | None) -> float:
    """-1 for no limit, as locks and the core take it."""
    if until is None:
        return -1.0
    return min(max(until - time.monotonic(), 0.0), threading.TIMEOUT_MAX)


def _wrong_type(segments: Sequence[Segment]) -> str:
    """Which segment the core did not take, and why."""
    for index, segment in enumerate(segments):
        for name, ids in (("tokens", segment.tokens), ("read", segment.read)):
            kind = np.asarray(ids).dtype
            if not np.can_cast(kind, np.int32):
                return f"segment {index}: {name}: expected int32 ids, got {kind}"
        if not isinstance(segment.parent, _core.State | int):
            got = type(segment.parent).__name__
            return f"segment {index}: parent: expected a State or the index of a segment, got {got}"
    return ""


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


@atexit.register
def close_engines() -> None:
    """Ends all forwards before the interpreter and the libraries are taken down."""
    for engine in list(_engines):
        with contextlib.suppress(ForkedProcessError):  # a child: it belongs to the parent
            engine.close()


class Engine:
    """A loaded model: arenas, threads and the worker that packs waiting segments into forwards.

    Args:
        folder: model directory.
        isa: name of a kernel table; None takes STEPGUARD_ISA or the best.
        threads: threads of a forward, the worker included.
        kv: type of the KV pages, "fp16" or "fp32"; None takes the manifest's.
        activations: what int4 and int8 weights are multiplied with: "int8", rows rounded to
            integers (8 bits beside int4 weights, 16 beside int8); "bf16", rows and weights cut to
            bfloat16, which only the table `amx` has; or "fp32", slower and exact. None takes
            "bf16" for int4 weights where it is there, else "int8" where the model has such weights.
        memory: bytes for KV pages, recurrent slots and the scratch of a forward.
        chunk: most tokens of one forward; fewer where their scratch would take more than a quarter
            of the memory.
        budget_ms: milliseconds that a forward may take: the speed so far says how many tokens these
            are, at least 16, so that a small check beside a long read waits no longer. What is
            alone, has no deadline and fits into three such forwards runs in one.
        ort_library: path of the ONNX Runtime library; None finds the installed wheel's.
        device: "cpu" or "cuda"; with "cuda" the memory is the GPU's, and None takes a quarter of
            what is free there, at most 4 GiB. The CPU takes over only with "cuda,cpu": the GPU, or
            the CPU where that cannot be used, which the log "stepguard" says.
        gpu_memory: MiB that the engine may take of a GPU for weights, rows and `memory` together,
            so that the agent's own model beside it has the rest; None for no limit.
        cuda_library: path of the library of GPU kernels; None takes the one beside this package.

    Raises:
        ModelFormatError: the graph is not one that this runtime can run.
        RuntimeMissingError: no usable ONNX Runtime, or no such kernel table; with "cuda" also: no
            library of GPU kernels, no driver, no GPU, or no memory on it.
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        isa: str | None = None,
        threads: int | None = None,
        kv: str | None = None,
        activations: str | None = None,
        memory: int | None = None,
        chunk: int = 512,
        budget_ms: float = 100.0,
        ort_library: str | None = None,
        manifest: Manifest | None = None,
        device: str = "cpu",
        gpu_memory: int | None = None,
        cuda_library: str | None = None,
    ) -> None:
        folder = Path(folder)
        manifest = manifest or load(folder)
        weights = 0 if device == "cpu" else (folder / "weights.bin").stat().st_size
        wish = Wish(device, memory, gpu_memory, cuda_library, weights)
        architecture = manifest.architecture
        delta = architecture.delta
        kv = kv or manifest.quantisation.kv
        if kv not in ("fp16", "fp32"):
            raise ValueError(f"kv: expected 'fp16' or 'fp32', got {kv!r}")
        self.kv = kv
        isa = active_isa(isa)
        on_cpu = device == "cpu"
        linear = manifest.quantisation.linear
        self.activations = activations_of(activations, linear, isa if on_cpu else "")
        make = partial(
            _core.Engine,
            model_path=str(folder / "model.onnx"),
            ort_path=ort_library or find_onnxruntime().path,
            isa=isa,
            threads=default_threads() if threads is None else threads,
            kv_half=kv == "fp16",
            activations=ACTIVATIONS[self.activations],
            row_bytes=row_bytes(architecture),
            chunk=chunk,
            layers=architecture.attention_layers,
            kv_heads=architecture.kv_heads,
            head_dim=architecture.head_dim,
            delta_layers=delta.layers if delta else 0,
            conv_floats=delta.conv_floats if delta else 0,
            delta_floats=delta.delta_floats if delta else 0,
            vocabulary=architecture.vocabulary,
            context=architecture.context,
            budget=budget_ms / 1000,
            watched=[str(folder / name) for name in ("model.onnx", "weights.bin")],
        )

        def make_on(place: Place) -> _core.Engine:
            self.device = "cuda" if place.cuda_path else "cpu"
            return make(memory=place.memory, cuda_path=place.cuda_path, gpu_memory=place.gpu_memory)

        self._core = open_on_device(wish, make_on)
        _engines.add(self)

    @property
    def root(self) -> _core.State:
        """The State that has read nothing."""
        return self._core.root

    @property
    def isa(self) -> str:
        """Name of the kernel table that runs; with a GPU "cuda" and its name."""
        return self._core.isa

    @property
    def threads(self) -> int:
        """Threads of a forward."""
        return self._core.threads

    @property
    def writes(self) -> bool:
        """Whether the model gives next tokens: it was exported with a rationale."""
        return self._core.writes

    @property
    def ort_version(self) -> str:
        """Version of the ONNX Runtime library."""
        return self._core.ort_version

    def submit(self, segments: Sequence[Segment], *, seconds: float | None = None) -> Ticket:
        """Queues a forest in which a parent precedes its children.

        What has not run when `seconds` from now are over ends with reason `deadline`. A segment
        with `keep` that ends so, or was cancelled, has a reason and the State of what was read.

        Raises:
            ValueError: a token, output row or parent out of range; says which segment.
            TypeError: ids that are no int32, or a parent that is none; says which segment.
            EngineClosed: the engine was closed.
            ForkedProcessError: called in a child of fork().
        """
        rows = [(s.tokens, s.parent, s.keep, s.consume, s.read, s.next) for s in segments]
        try:
            inner = self._core.submit(rows, -1.0 if seconds is None else max(seconds, 0.0))
        except TypeError as error:
            raise TypeError(_wrong_type(segments) or str(error)) from error
        return Ticket(inner)

    def save(self, state: _core.State) -> bytes:
        """The content of a State, for `restore` of an engine with the same model, ISA and KV type.

        Raises:
            ValueError: it is a State of another engine, or was consumed.
        """
        return self._core.save(state)

    def restore(self, data: bytes) -> _core.State:
        """A State from what `save` gave. Nothing guards the bytes: hash them.

        Raises:
            ValueError: the sizes in them are not those of this engine.
            MemoryError: no KV page or recurrent slot is free.
        """
        return self._core.restore(data)

    def stats(self) -> dict[str, int | float]:
        """Counters since loading: tokens, forwards, tokens_copied, pages_used, pages_total,
        slots_used, slots_total, busy_seconds, memory_used and memory_total (bytes of pages,
        slots and scratch), memory_scratch (what a forward may take), forward_tokens (tokens that
        the next forward may take), and seconds_Linear and so on (time inside the operations that
        ran).
        """
        return self._core.stats()

    def close(self) -> None:
        """Ends what waits with reason `closing` and joins the threads; may be called twice."""
        self._core.close()
