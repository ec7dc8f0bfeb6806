"""The files that each engine reads, made once in a folder of work and found there again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepguard.bench.child import how_ended
from stepguard.bench.latency.grid import write_hugging_face, write_llama_cpp, write_ours
from stepguard.bench.latency.remote import FIX, MissingPeer
from stepguard.bench.shapes.guards import GuardShape
from stepguard.errors import StepguardError

Progress = Callable[[str, int, int], None]
_BUILDER = "onnxruntime_genai.models.builder"
_EXPORTER = "stepguard.bench.latency.openvino_export"
FIX_OPENVINO = (
    "Make its files with the same --work in an environment with optimum-intel and, for Qwen3.5, "
    "transformers 5.2; see docs/benchmarks.md"
)
_BUILDER_OPTIONS = ["block_size=32", "is_symmetric=true", "accuracy_level=4", "prune_lm_head=true"]


def prepare(name: str, shape: GuardShape, work: Path, seed: int, progress: Progress) -> Path:
    """What the engine of this name loads.

    Raises:
        MissingPeer: a package that makes it is not installed.
        StepguardError: it could not be made.
    """
    stem = f"{shape.name}-{seed}"
    if name == "stepguard":
        out = our_place(shape, work, seed)
        return _made(out, lambda out: write_ours(shape, out, seed, progress))
    if name == "llama.cpp":
        return _made(work / f"{stem}.gguf", lambda out: write_llama_cpp(shape, out, seed, progress))
    folder = _made(
        work / f"{stem}-bf16", lambda out: write_hugging_face(shape, out, seed, progress)
    )
    if name == "transformers":
        return folder
    if name == "openvino":
        return _made(work / f"{stem}-openvino", lambda out: _export_openvino(folder, out))
    return _made(work / f"{stem}-genai", lambda out: _build_genai(folder, out))


def our_place(shape: GuardShape, work: Path, seed: int) -> Path:
    """Where our model directory is made."""
    return work / f"{shape.name}-{seed}-stepguard"


# How ours is set up: what the report states is what the engine was told.
OURS: dict[str, Any] = {"kv": "fp16", "memory": 1 << 30}


def options(name: str, shape: GuardShape) -> dict[str, Any]:
    """What another engine must be told beside its files."""
    return {"recurrent": shape.shape.delta is not None} if name == "genai" else {}


def _made(path: Path, make: Callable[[Path], None]) -> Path:
    """Makes what is not there yet; half of it never stays under its name."""
    if path.exists():
        return path
    partial = path.with_name(path.name + ".partial")
    _remove(partial)
    try:
        make(partial)
    except BaseException:
        _remove(partial)  # gigabytes, perhaps, where others are measured still
        raise
    partial.rename(path)
    return path


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _build_genai(checkpoint: Path, out: Path) -> None:
    cache = out.with_name(out.name + ".cache")
    words = ["-i", checkpoint, "-o", out, "-p", "int4", "-e", "cpu", "-c", cache]
    trouble = _run(_BUILDER, [*map(str, words), "--extra_options", *_BUILDER_OPTIONS])
    shutil.rmtree(cache, ignore_errors=True)
    if trouble:
        kind = MissingPeer if "ModuleNotFoundError" in trouble else StepguardError
        raise kind(_BUILDER, expected="a model", got=trouble, fix=FIX)


def _export_openvino(checkpoint: Path, out: Path) -> None:
    """Its exporter takes some shapes with some versions of transformers only: that is said, and
    the other engines are measured."""
    trouble = _run(_EXPORTER, [str(checkpoint), str(out)])
    if trouble:
        raise MissingPeer(_EXPORTER, expected="a model", got=trouble, fix=FIX_OPENVINO)


def _run(module: str, words: list[str]) -> str:
    """How a failing module ended, or the last line of what it said; empty when it did its work."""
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    if done.returncode < 0:  # it said nothing of it
        return how_ended(done.returncode)
    return (done.stderr.strip().splitlines() or [how_ended(done.returncode)])[-1]
