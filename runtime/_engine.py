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
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stepguard.errors import ForkedProcessError, check_process
from stepguard.manifest import Manifest, load
from stepguard.runtime import _core
from stepguard.runtime._isa import active_isa
from stepguard.runtime._library import find_onnxruntime
from stepguard.runtime._resources import default_memory, default_threads

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
    read: int32 [r] output rows whose logits are wanted after the last token.
    """

    tokens: Ids
    parent: _core.State | int
    keep: bool = False
    consume: bool = False
    read: Ids = field(default_factory=lambda: _NO_IDS)


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


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


@atexit.register
def _close_engines() -> None:
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
        memory: bytes for KV pages.
        chunk: most tokens of one forward.
        budget_ms: milliseconds that a forward may take: the speed so far says how many tokens these
            are, at least 16, so that a small check beside a long read waits no longer.
        ort_library: path of the ONNX Runtime library; None finds the installed wheel's.

    Raises:
        ModelFormatError: the graph is not one that this runtime can run.
        RuntimeMissingError: no usable ONNX Runtime, or no such kernel table.
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        isa: str | None = None,
        threads: int | None = None,
        kv: str | None = None,
        memory: int | None = None,
        chunk: int = 512,
        budget_ms: float = 100.0,
        ort_library: str | None = None,
        manifest: Manifest | None = None,
    ) -> None:
        folder = Path(folder)
        manifest = manifest or load(folder)
        architecture = manifest.architecture
        delta = architecture.delta
        kv = kv or manifest.quantisation.kv
        if kv not in ("fp16", "fp32"):
            raise ValueError(f"kv: expected 'fp16' or 'fp32', got {kv!r}")
        self.kv = kv
        self._core = _core.Engine(
            model_path=str(folder / "model.onnx"),
            ort_path=ort_library or find_onnxruntime().path,
            isa=active_isa(isa),
            threads=default_threads() if threads is None else threads,
            kv_half=kv == "fp16",
            memory=default_memory() if memory is None else memory,
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
        _engines.add(self)

    @property
    def root(self) -> _core.State:
        """The State that has read nothing."""
        return self._core.root

    @property
    def isa(self) -> str:
        """Name of the kernel table that runs."""
        return self._core.isa

    @property
    def threads(self) -> int:
        """Threads of a forward."""
        return self._core.threads

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
            EngineClosed: the engine was closed.
            ForkedProcessError: called in a child of fork().
        """
        rows = [(s.tokens, s.parent, s.keep, s.consume, s.read) for s in segments]
        return Ticket(self._core.submit(rows, -1.0 if seconds is None else max(seconds, 0.0)))

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
        slots_used, slots_total, busy_seconds, memory_used and memory_total (bytes of pages and
        slots), forward_tokens (what the next forward may take).
        """
        return self._core.stats()

    def close(self) -> None:
        """Ends what waits with reason `closing` and joins the threads; may be called twice."""
        self._core.close()
