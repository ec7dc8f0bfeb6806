"""A random model directory of a shape, without a checkpoint on disk.

The exporter reads tensors that are made while it asks for them, so that the graph, the layout and
the manifest are those of an export. They come in the format that is wanted: nothing is searched.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from stepguard.bench.shapes.checkpoint import NOTE, Progress, random_store, write_small_files
from stepguard.bench.shapes.guards import GuardShape
from stepguard.export import export_checkpoint
from stepguard.export.architecture import Linear
from stepguard.export.checkpoint import Checkpoint
from stepguard.export.provenance import NOT_STATED
from stepguard.export.shape import Shape
from stepguard.export.tensors import TensorStore
from stepguard.manifest import Manifest

_KINDS = {"int4": "Q4_0", "int8": "Q8_0"}


def make_model(
    shape: GuardShape,
    out: Path | str,
    *,
    quant: str = "int4",
    seed: int = 0,
    store: TensorStore | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Writes a random model directory of `shape` to the new folder `out`, with our short prompt.

    quant: int4, int8 or float32, as in an export. store: other weights than those of the seed. The
    manifest's origin says that it is random.

    Raises:
        ExportError: `out` exists and is not empty, or its disk is too small.
        StepguardError: a package is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="stepguard-") as name:
        folder = Path(name)
        write_small_files(shape, folder, seed, text_only=True)
        if store is None:
            kinds = stored_kinds(shape.shape, quant)
            store = random_store(shape, folder, seed, kinds=kinds)
        return export_checkpoint(
            Checkpoint("safetensors", folder, shape.text, store),
            out,
            quant=quant,
            template="short",
            progress=progress,
            overwrite=overwrite,
            origin={
                "kind": "safetensors",
                "source": NOTE.format(name=shape.name, seed=seed),
                "revision": NOT_STATED,
                "adapter": None,
            },
        )


def stored_kinds(shape: Shape, quant: str) -> dict[str, str]:
    """The stored type of every tensor that an export passes through bit for bit."""
    if quant == "float32":
        return {}
    tables = {"model.embed_tokens.weight": "Q8_0", "lm_head.weight": "Q8_0"}
    return tables | {
        f"model.layers.{layer}.{part.hf}.weight": _KINDS[quant]
        for layer in range(shape.layers)
        for operation in shape.operations(layer)
        if isinstance(operation, Linear) and not operation.exact
        for part in operation.parts
    }
