"""The file of a trained head."""

from __future__ import annotations

import struct
from random import Random

import numpy as np

from stepguard.errors import ModelFormatError
from stepguard.heads import Head, write_tensors
from stepguard.manifest import Manifest
from tests.front.manifests import sample
from tests.fuzz.mutate import mutate_bytes, mutate_json
from tests.fuzz.target import Target

_ENTRY = Manifest.from_dict(sample()).heads["verdict"]
_HIDDEN = 4


def run(data: bytes) -> None:
    head = Head.from_bytes(data, _ENTRY, _HIDDEN)
    assert np.isfinite(head.mean).all()
    assert (head.scale > 0).all()
    assert head.outputs(np.zeros(_HIDDEN, np.float32)).shape == (1,)


def seeds() -> list[bytes]:
    tensors = {"mean": np.zeros(_HIDDEN), "scale": np.ones(_HIDDEN), "bias.0": np.ones(1)}
    return [write_tensors({**tensors, "weight.0": np.ones((1, _HIDDEN))})]


def _mutate(data: bytes, random: Random) -> bytes:
    """Mostly of the header, which then has its right length in front."""
    end = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or end > len(data) or random.randrange(4) == 0:
        return mutate_bytes(data, random)
    header = mutate_json(data[8:end], random)
    return struct.pack("<Q", len(header)) + header + data[end:]


TARGET = Target(
    "head",
    run,
    seeds,
    (ModelFormatError,),
    _mutate,
    (b'"dtype":', b'"F64"', b'"shape":[', b'"data_offsets":[', b"9" * 400),
)
