"""A manifest with every field, as a JSON object."""

from __future__ import annotations

import copy
from typing import Any

_HASH = "0123456789abcdef" * 4

_SAMPLE: dict[str, Any] = {
    "format": "stepguard-model",
    "format_version": 1,
    "stepguard_version": "0.1.0",
    "architecture": {
        "name": "llama",
        "layers": 2,
        "hidden": 64,
        "mlp": 96,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 16,
        "rotary_dim": 16,
        "rope_theta": 10000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
        "vocabulary": 256,
        "context": 2048,
        "tied": True,
        "epsilon": 1e-5,
        "attention_bias": False,
        "qk_norm": False,
    },
    "quantisation": {
        "requested": "auto",
        "linear": {"int4": 6, "int8": 2},
        "table": "int8",
        "search": "some-search",
        "kv": "fp16",
    },
    "prompt": {"any": ["thing", {"that": "the prompt room reads"}]},
    "taxonomy": None,
    "calibration": [
        {
            "mode": "first_token",
            "model": _HASH,
            "prompt": _HASH,
            "kv": "fp16",
            "activations": "int8",
            "method": "isotonic",
            "scale": 1.5,
            "bias": -0.25,
            "low": 0.4,
            "high": 0.6,
            "knots": [{"margin": -1.0, "score": 0.1}, {"margin": 2.0, "score": 0.9}],
            "promise": {
                "rate": "fnr",
                "target": 0.05,
                "rule": "fixed-sequence",
                "delta": 0.1,
                "families": 60,
                "data": _HASH,
            },
        }
    ],
    "heads": {
        "verdict": {
            "file": "head.safetensors",
            "kind": "logistic",
            "mode": "first_token",
            "prompt": _HASH,
            "labels": ["safe", "unsafe"],
            "strength": 0.01,
            "within": 0.75,
            "across": None,
            "families": 60,
            "data": _HASH,
        }
    },
    "licence": {"name": "apache-2.0", "files": ["LICENSE"]},
    "origin": {
        "kind": "gguf",
        "source": "weights.gguf",
        "revision": "not stated",
        "sha256": _HASH,
        "adapter": {"source": "lora", "revision": "not stated", "sha256": _HASH},
    },
    "files": {
        name: {"sha256": _HASH, "bytes": 5}
        for name in ("model.onnx", "weights.bin", "tokenizer.json", "LICENSE", "head.safetensors")
    },
}


def sample() -> dict[str, Any]:
    """A copy of one's own."""
    return copy.deepcopy(_SAMPLE)


def change(value: dict[str, Any], path: str, new: object) -> dict[str, Any]:
    """Sets the entry at a dotted path; `...` (Ellipsis) removes it."""
    *folders, last = path.split("/")
    at = value
    for name in folders:
        at = at[int(name)] if isinstance(at, list) else at[name]
    if new is ...:
        del at[last]
    else:
        at[last] = new
    return value
