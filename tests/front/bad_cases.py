"""Model directories that are wrong in one way each, loaded in a process of its own.

`python -m tests.front.bad_cases MODEL WORK` prints a line of JSON before and after every case, so
that a crash of the process names its cause. Weights and graphs are signed again after the change:
whoever made such a file made its manifest too.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from stepguard import Guard, Step
from stepguard.errors import StepguardError

MEMORY = 16 << 20
Change = Callable[[Path], object]


def sign(model: Path) -> None:
    """Writes the hashes of the files as they are into the manifest."""
    manifest = json.loads((model / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        data = (model / name).read_bytes()
        entry.update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    (model / "manifest.json").write_text(json.dumps(manifest))


def field(path: str, value: object) -> Change:
    """Sets a field of the manifest."""

    def change(model: Path) -> None:
        manifest = json.loads((model / "manifest.json").read_text())
        *folders, last = path.split(".")
        at = manifest
        for name in folders:
            at = at[name]
        at[last] = value
        (model / "manifest.json").write_text(json.dumps(manifest))

    return change


def graph(change: Callable[[onnx.ModelProto], object]) -> Change:
    """Changes the graph and signs it."""

    def changed(model: Path) -> None:
        found = onnx.load(model / "model.onnx", load_external_data=False)
        change(found)
        onnx.save(found, model / "model.onnx")
        sign(model)

    return changed


def nodes(model: onnx.ModelProto, kind: str) -> Iterator[onnx.NodeProto]:
    return (node for node in model.graph.node if node.op_type == kind)


def foreign_op(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "Conv3"


def foreign_domain(model: onnx.ModelProto) -> None:
    model.graph.node[1].domain = "somebody.else"


def wrong_shape(model: onnx.ModelProto) -> None:
    for node in nodes(model, "Linear"):
        next(a for a in node.attribute if a.name == "k").i += 32


def outside(model: onnx.ModelProto) -> None:
    """Weights behind the end of their file."""
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "offset":
                entry.value = str(1 << 40)


def elsewhere(model: onnx.ModelProto) -> None:
    """Weights in a file outside the folder."""
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../secret.bin"


def fill(name: str, value: float) -> Change:
    """Fills a float32 tensor with one value and signs it."""

    def changed(model: Path) -> None:
        found = onnx.load(model / "model.onnx", load_external_data=False)
        tensor = next(t for t in found.graph.initializer if name in t.name and t.data_type == 1)
        place = {entry.key: entry.value for entry in tensor.external_data}
        with (model / place["location"]).open("r+b") as file:
            file.seek(int(place["offset"]))
            file.write(np.full(int(place["length"]) // 4, value, np.float32).tobytes())
        sign(model)

    return changed


def cut(name: str, size: int) -> Change:
    return lambda model: os.truncate(model / name, size)


def flip(name: str) -> Change:
    def changed(model: Path) -> None:
        data = bytearray((model / name).read_bytes())
        data[len(data) // 2] ^= 1
        (model / name).write_bytes(data)

    return changed


def write(name: str, data: bytes) -> Change:
    return lambda model: (model / name).write_bytes(data)


def signed(*changes: Change) -> Change:
    def changed(model: Path) -> None:
        for change in changes:
            change(model)
        sign(model)

    return changed


def unlink(name: str) -> Change:
    return lambda model: (model / name).unlink()


def touch(name: str) -> Change:
    return lambda model: os.utime(model / name, ns=(1, 1))


def replace(name: str) -> Change:
    """The same bytes in another file under the name."""

    def changed(model: Path) -> None:
        shutil.copy2(model / name, model / "other")
        (model / "other").replace(model / name)

    return changed


FORMAT, TAMPERED = "ModelFormatError", "ModelTamperedError"
NAMES = ("model.onnx", "weights.bin", "tokenizer.json")
# What is changed, the error, and what its text says among other things.
CASES: dict[str, tuple[Change, str, str]] = {
    "missing manifest.json": (unlink("manifest.json"), FORMAT, "manifest.json"),
    "truncated manifest.json": (cut("manifest.json", 100), FORMAT, "expected JSON"),
    "empty manifest.json": (cut("manifest.json", 0), FORMAT, "expected JSON"),
    **{f"missing {name}": (unlink(name), FORMAT, name) for name in NAMES},
    **{f"truncated {name}": (cut(name, 100), TAMPERED, "got 100 bytes") for name in NAMES},
    **{f"empty {name}": (cut(name, 0), TAMPERED, "got 0 bytes") for name in NAMES},
    **{f"flipped {name}": (flip(name), TAMPERED, f"{name}: expected sha256") for name in NAMES},
    "short weights, signed": (signed(cut("weights.bin", 1000)), FORMAT, "can run"),
    "an empty graph, signed": (signed(write("model.onnx", b"")), FORMAT, "No graph"),
    "a graph of noise, signed": (signed(write("model.onnx", bytes(range(256)))), FORMAT, "Proto"),
    "no tokenizer, signed": (signed(write("tokenizer.json", b"\xff{}")), "TokenizerError", "json"),
    "a path for a tokenizer, signed": (
        signed(write("tokenizer.json", b"tokenizer.json")),
        "TokenizerError",
        "tokenizer.json: expected a tokenizer.json",
    ),
    "another tokenizer, signed": (
        signed(write("tokenizer.json", b'{"model": {"type": "Unigram"}}')),
        "TokenizerError",
        "a Unigram model",
    ),
    "a newer format": (field("format_version", 99), FORMAT, "newer stepguard. Upgrade"),
    "an unknown architecture": (
        field("architecture.name", "mamba"),
        FORMAT,
        "expected one of llama, qwen2",
    ),
    "more layers than the graph": (field("architecture.layers", 9), FORMAT, "kv.8 is missing"),
    "other heads than the graph": (field("architecture.head_dim", 40), FORMAT, "expected size"),
    "a smaller vocabulary": (field("architecture.vocabulary", 9), "TokenizerError", "9 rows"),
    "no labels": (
        field("prompt.modes.first_token.labels", {}),
        "PromptError",
        "first_token.labels",
    ),
    "a short context": (field("architecture.context", 16), FORMAT, "the context of 16"),
    "a foreign op": (graph(foreign_op), FORMAT, "Conv3"),
    "an op of a foreign domain": (graph(foreign_domain), FORMAT, "somebody.else"),
    "a wrong shape": (graph(wrong_shape), FORMAT, "expected size 104 in dimension 1, got 72"),
    "weights behind their file": (graph(outside), FORMAT, "can run"),
    "weights outside the folder": (graph(elsewhere), FORMAT, "escapes model directory"),
    "NaN in the weights": (fill("norm", float("nan")), FORMAT, "not a finite number"),
    "Inf in the weights": (fill("norm", float("inf")), FORMAT, "not a finite number"),
}
# What happens to a model that is loaded; the file is the last word.
CHANGES: dict[str, Change] = {
    f"then {what} {name}": change(name)
    for name in NAMES[:2]
    for what, change in {
        "flipped": flip,
        "truncated": lambda name: cut(name, 100),
        "emptied": lambda name: cut(name, 0),
        "touched": touch,
        "replaced": replace,
        "removed": unlink,
    }.items()
}


def answer(guard: Guard) -> dict[str, Any]:
    verdict = guard.session().push(Step.agent("", "call()"))
    return {"kind": "verdict", "reason": str(verdict.reason), "message": verdict.message}


def load(model: Path) -> dict[str, Any]:
    """The error, part by part."""
    try:
        with Guard.load(model, memory=MEMORY, save_prefix=False) as guard:
            return answer(guard)
    except StepguardError as error:
        parts = {name: getattr(error, name) for name in ("where", "expected", "got", "fix")}
        return {"kind": type(error).__name__, **parts, "text": str(error)}


def load_then(model: Path, change: Change) -> dict[str, Any]:
    """The answer after a change, and the reason of the one before it."""
    with Guard.load(model, memory=MEMORY, save_prefix=False) as guard:
        before = answer(guard)["reason"]
        change(model)
        return {"before": before, **answer(guard)}


def main(original: Path, work: Path) -> None:
    for name in [*CASES, *CHANGES]:
        print(json.dumps({"begin": name}), flush=True)
        model = Path(shutil.copytree(original, work / "model"))
        if name in CASES:
            CASES[name][0](model)
            report = load(model)
        else:
            report = load_then(model, CHANGES[name])
        print(json.dumps({"case": name, **report}), flush=True)
        shutil.rmtree(model)
    with Guard.load(original, memory=MEMORY, save_prefix=False) as guard:  # nothing of it stayed
        print(json.dumps({"case": "the good one", **answer(guard)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
