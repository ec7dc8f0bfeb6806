"""A default guard of a few hundred kilobytes: a package with a base, and what is kept for it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from stepguard.default_guard import Base, Kept, Source
from stepguard.default_guard.kept import ADAPTER, CALIBRATION, FILE, as_text
from stepguard.manifest import CalibrationEntry, Manifest
from tests.export.adapters import write_adapter
from tests.export.gguf_files import Kind, write_gguf
from tests.export.tiny import make_checkpoint
from tests.front.manifests import sample

PACKAGE, REQUIREMENT = "small_base", "small-base==1.0"
_SIZE = {"hidden_size": 64, "head_dim": 16, "num_attention_heads": 4, "intermediate_size": 96}


@dataclass(frozen=True)
class Small:
    """site: where the package lies, on no path yet; kept: the folder; weights: the package's."""

    site: Path
    kept: Path
    weights: Path

    def calibrate(self, model: str, quant: str = "int8") -> CalibrationEntry:
        """Keeps a calibration of a model, by its hash."""
        entry = Manifest.from_dict(sample()).calibration[0]
        entry = dataclasses.replace(entry, model=model)
        folder = self.kept / CALIBRATION
        folder.mkdir(exist_ok=True)
        (folder / f"{quant}-{entry.activations}-{entry.kv}.json").write_text(as_text(entry))
        return entry


def make_small(folder: Path) -> Small:
    """Writes both."""
    checkpoint = make_checkpoint(folder / "base", "llama", 3, num_key_value_heads=2, **_SIZE)
    site, kept = folder / "site", folder / "kept"
    package = site / PACKAGE
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    weights = write_gguf(package / "small.gguf", checkpoint, lambda _: Kind.Q8_0)
    shapes = {f"model.layers.{i}.self_attn.q_proj": (64, 64) for i in range(2)}
    write_adapter(kept, shapes)
    halves = {name: v.astype(np.float16) for name, v in load_file(kept / ADAPTER).items()}
    save_file(halves, kept / ADAPTER)
    (kept / "NOTICE").write_text("What it learned from.\n")
    guard = Kept(
        base=Base(PACKAGE, REQUIREMENT, _sha256(weights), "Apache-2.0"),
        adapter=_sha256(kept / ADAPTER),
        licence="Apache-2.0",
        asking={"template": "short"},
        checkpoint="step-000007",
        settings={"rank": 3, "layers": 2},
        rounding=0.0003,
        learned={"mine": Source(4, 2, ("MIT",), {"a-model": 3})},
        given=4,
        seen=3,
    )
    (kept / FILE).write_text(as_text(guard))
    (kept / "learned.json").write_text(json.dumps({"records": []}))
    return Small(site, kept, weights)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
