"""A hostile model.onnx beside good weights: it is refused, or it runs.

ONNX Runtime reads it first, in this very process. A crash in there is a finding all the same.
"""

from __future__ import annotations

import hashlib
import shutil
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from stepguard.errors import ModelFormatError
from stepguard.manifest import Manifest, load
from stepguard.runtime import Engine, Segment
from tests.fuzz.mutate import mutate_bytes
from tests.fuzz.target import Target, folder

ROOT = Path(__file__).resolve().parents[2]
_MEMORY = 4 << 20
_IDS = np.arange(40, dtype=np.int32)
_WORDS = (b"stepguard", b"Attention", b"DeltaNet", b"ReadOut", b"Linear", b"weights.bin", b"kv.0")


def run(data: bytes) -> None:
    place, manifest = _place()
    (place / "model.onnx").write_bytes(data)
    engine = Engine(place, threads=1, memory=_MEMORY, manifest=manifest)
    try:
        read = np.array([1, 5], np.int32)
        first = engine.submit([Segment(_IDS, engine.root, keep=True), Segment(_IDS, 0, read=read)])
        for result in first.wait(30):
            assert result.reason in ("", "internal", "numeric", "memory"), result.reason
        assert result.reason or result.logits.shape == (2,)
    finally:
        engine.close()


@cache
def _place() -> tuple[Path, Manifest]:
    source, place = model(), folder() / "model"
    shutil.copytree(source, place)
    return place, load(place)


@cache
def model() -> Path:
    """A model directory of a random hybrid of a few kB, kept under a hash of what makes it."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for room in ("export", "src/stepguard/prompt", "src/stepguard/manifest"):
        for source in sorted((ROOT / room).glob("*.py")):
            digest.update(source.read_bytes())
    place = ROOT / "build" / "fuzz" / f"model-{digest.hexdigest()[:16]}"
    if not (place / "manifest.json").is_file():
        from stepguard.export import export_model
        from tests.export.tiny import make_checkpoint

        checkpoint = make_checkpoint(
            folder() / "checkpoint",
            "qwen3_5_text",
            num_hidden_layers=2,
            layer_types=["linear_attention", "full_attention"],
            linear_num_key_heads=1,
            linear_num_value_heads=2,
            linear_key_head_dim=4,
            linear_value_head_dim=6,
            head_dim=8,
        )
        export_model(checkpoint, place, quant="int8", template="short", overwrite=place.exists())
    return place


def seeds() -> list[bytes]:
    return [(model() / "model.onnx").read_bytes()]


def _mutate(data: bytes, random: Random) -> bytes:
    """Mostly a change of the parsed graph: attributes, shapes, types, names, places of weights."""
    import onnx

    if random.randrange(4) == 0:
        return mutate_bytes(data, random, _WORDS)
    try:
        parsed = onnx.load_model_from_string(data)
        for _ in range(random.choice((1, 1, 1, 3))):
            _change(parsed.graph, random)
        return bytes(parsed.SerializeToString())
    except Exception:  # protobuf has many ways to refuse what is no graph any more
        return mutate_bytes(data, random, _WORDS)


def _change(graph: Any, random: Random) -> None:
    kind = random.randrange(8)
    node = random.choice(graph.node)
    weight = random.choice(graph.initializer)
    port = random.choice([*graph.input, *graph.output])
    number = random.choice((-1, 0, 1, 2, 3, 7, 16, 32, 256, 65536, 1 << 31, 1 << 40, (1 << 63) - 1))
    if kind < 2 and node.attribute:
        attribute = random.choice(node.attribute)
        attribute.i, attribute.f = number, float(number)
        attribute.s = random.choice((b"", b"float32", b"int4", b"int8", b"swiglu", b"residual"))
    elif kind == 2:
        weight.dims[:] = [random.choice((number, dim, dim * 2, dim - 1)) for dim in weight.dims]
    elif kind == 3 and weight.external_data:
        random.choice(weight.external_data).value = random.choice(
            (str(number), "../weights.bin", "model.onnx", "-64", "1e9", "")
        )
    elif kind == 4:
        weight.data_type = random.randrange(20)
    elif kind == 5:
        at = random.randrange(len(node.input))
        names = [name for other in graph.node for name in (*other.input, *other.output)]
        node.input[at] = random.choice([*names, ""])
    elif kind == 6:
        node.op_type = random.choice(graph.node).op_type
        if random.randrange(3) == 0:
            graph.node.remove(node)
    else:
        port.type.tensor_type.elem_type = random.randrange(20)
        for dim in port.type.tensor_type.shape.dim:
            dim.dim_value = number


TARGET = Target("graph", run, seeds, (ModelFormatError,), _mutate, _WORDS, most=1 << 16)
