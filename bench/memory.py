"""What a guard costs in memory: every part of a process that has loaded one and judged.

Measured in fresh processes. One loads nothing but the interpreter, ONNX Runtime and the tokenizer,
to learn what these take; another is a host with a guard, whose memory is split by what it maps.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepguard.bench.child import run_module
from stepguard.bench.gpu import find_gpu
from stepguard.bench.machine import Setup
from stepguard.bench.samples import Sample
from stepguard.bench.smaps import Ranges
from stepguard.errors import StepguardError
from stepguard.export._need import need
from stepguard.manifest import Manifest, load
from stepguard.runtime import PAGE_TOKENS

_PROBE = "stepguard.bench.memory_probe"
_SCRATCH = 1 << 30  # bytes of a forward's rows, and what cutting memory into kinds leaves over
_SETTLED = 2.5  # seconds after which a file's times tell whether it was written to


@dataclass(frozen=True)
class Parts:
    """Resident bytes of a process, part by part; `total` is their sum."""

    total: int
    python: int
    """The interpreter with stepguard and what it imports."""
    tokenizer: int
    ort: int
    linears: int
    """Pages of weights.bin that are mapped, without those of the tables."""
    tables: int
    """Mapped pages of the embedding and of the output matrix."""
    kv: int
    states: int
    """Recurrent slots: States that are kept, and those of questions."""
    rest: int
    """Rows of a forward pass, ONNX Runtime's session, freed memory that was not given back."""

    @property
    def own(self) -> int:
        """What the guard adds to a process that has Python, ONNX Runtime and the tokenizer."""
        return self.total - self.python - self.tokenizer - self.ort


@dataclass(frozen=True)
class Memory:
    """One model's answer; bytes and seconds."""

    name: str
    file_bytes: int
    """weights.bin."""
    quant: str
    context: int
    """Tokens that `full` was measured at, at least: fewer than were asked for where the samples
    end, or where no further step has room."""
    first_seconds: float
    """Loading, the weights hashed."""
    seconds: float
    """Loading, the weights known."""
    loaded: int
    """Resident after loading."""
    judged: Parts
    """After the first verdict."""
    full: Parts
    """At the whole context."""
    state_bytes: int
    """A State more that is kept, of a token more."""
    kilotoken_bytes: int
    """KV pages of 1,000 tokens."""
    copied: int
    """Bytes of the weights that are not the file's, which would be a copy."""
    gpu_bytes: int | None
    """What the GPU has less free at the whole context than before; None on the CPU."""
    setup: Setup
    """How the engine of the process was set up."""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return dataclasses.asdict(self)

    def to_case(self) -> dict[str, object]:
        """A line of the list that all benchmarks have. No verdict is timed, so it has no time, but
        MB of 10^6 bytes."""
        sizes = {
            "weights_mb": self.file_bytes,
            "loaded_mb": self.loaded,
            "judged_mb": self.judged.total,
            "full_mb": self.full.total,
            "own_mb": self.full.own,
        }
        return {
            "name": f"{self.name}, {self.context} tokens",
            "ours_ms": None,
            "peers": {},
            "best_peer": None,
            "ratio": None,
            **{name: size / 1e6 for name, size in sizes.items()},
        }


def measure_memory(
    model: Path,
    samples: Sequence[Sample],
    context: int,
    *,
    name: str,
    threads: int | None = None,
    device: str = "cpu",
) -> Memory:
    """Measures a model directory; the samples are read on end until `context` tokens are there.

    Raises:
        RuntimeMissingError: "cuda", and there is no GPU.
        StepguardError: a process failed; it said why on standard error. Nothing was to be judged.
        ModelFormatError: the folder is no model directory.
    """
    if device == "cuda":
        find_gpu()
    manifest = load(model)
    weights = model.resolve() / "weights.bin"
    question: dict[str, Any] = {
        "model": str(weights.parent),
        "options": {"threads": threads, "device": device},
        "tables": table_ranges(model / "model.onnx"),
        "context": context,
        "trajectories": [dict(sample.value) for sample in samples],
    }
    settle(weights)
    with tempfile.TemporaryDirectory(prefix="stepguard-") as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        base, first, run = (
            _ask(question | {"task": task}, environment) for task in ("parts", "load", "run")
        )
    if "full" not in run:
        raise StepguardError(name, expected="a text with an action to judge", got="none")
    slot, token = slot_bytes(manifest), token_bytes(manifest, run["setup"]["kv"])
    judged, full = (_parts(base, run[key], slot, token) for key in ("judged", "full"))
    return Memory(
        name=name,
        file_bytes=weights.stat().st_size,
        quant="+".join(sorted(manifest.quantisation.linear)),
        context=min(context, run["full"]["pages"] * PAGE_TOKENS),
        first_seconds=first["seconds"],
        seconds=run["seconds"],
        loaded=run["loaded"]["total"],
        judged=judged,
        full=full,
        # Pages and slots of a GPU are taken at once, so that none is seen to come.
        state_bytes=run["state"] if device == "cpu" else slot,
        kilotoken_bytes=run["tokens"] if device == "cpu" else 1000 * token,
        copied=run["full"]["copied"],
        gpu_bytes=run["gpu"],
        setup=Setup(**run["setup"]),
    )


def _ask(question: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    text = run_module(_PROBE, given=json.dumps(question), environment=environment)
    answer: dict[str, Any] = json.loads(text)
    return answer


def table_ranges(graph: Path) -> Ranges:
    """[begin, end) bytes of weights.bin that hold the embedding and the output matrix."""
    model = need("onnx").load(str(graph), load_external_data=False)
    ranges = []
    for tensor in model.graph.initializer:
        if tensor.name.split(".")[0] in ("embedding", "head"):
            place = {entry.key: entry.value for entry in tensor.external_data}
            begin = int(place["offset"])
            ranges.append((begin, begin + int(place["length"])))
    return ranges


def settle(weights: Path) -> None:
    """Waits until the file is old enough to be remembered as verified."""
    age = time.time() - weights.stat().st_ctime
    if age < _SETTLED:
        time.sleep(_SETTLED - age)


def slot_bytes(manifest: Manifest) -> int:
    """Bytes of the recurrent slot of a State."""
    delta = manifest.architecture.delta
    return 4 * delta.layers * (delta.conv_floats + delta.delta_floats) if delta else 0


def token_bytes(manifest: Manifest, kv: str) -> int:
    """Bytes of keys and values of a token."""
    shape = manifest.architecture
    heads = 2 * shape.kv_heads * shape.head_dim * (2 if kv == "fp16" else 4)
    return heads * shape.attention_layers


def our_memory(manifest: Manifest, sessions: int, room: int) -> int:
    """Bytes for so many sessions with so long a path, and for one that reads beside them.

    Each keeps a border; a step and its question have a recurrent slot more each.
    """
    pages = (sessions + 1) * (room + 128) * token_bytes(manifest, "fp32")
    return 2 * (pages + 3 * (sessions + 1) * slot_bytes(manifest)) + _SCRATCH


def _parts(base: Mapping[str, int], seen: Mapping[str, int], slot: int, token: int) -> Parts:
    ort = base["ort"] + seen["ort"]
    # Pages and slots lie in one kind of memory; a slot is far bigger than what of the pages in use
    # may be empty still.
    pages = seen["pages"] * PAGE_TOKENS * token
    states = slot * max(0, round((seen["arenas"] - pages) / slot)) if slot else 0
    known = base["python"] + base["tokenizer"] + ort + seen["linears"] + seen["tables"]
    return Parts(
        total=seen["total"],
        python=base["python"],
        tokenizer=base["tokenizer"],
        ort=ort,
        linears=seen["linears"],
        tables=seen["tables"],
        kv=seen["arenas"] - states,
        states=states,
        rest=seen["total"] - known - seen["arenas"],
    )
