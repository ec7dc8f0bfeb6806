"""manifest.json: what an export promises about a model directory, field by field."""

from __future__ import annotations

from stepguard.manifest.fields import (
    FORMAT,
    FORMAT_VERSION,
    Architecture,
    CalibrationEntry,
    DeltaLayers,
    FileEntry,
    HeadEntry,
    Knot,
    Manifest,
    Promise,
    Quantisation,
    Target,
    load,
)
from stepguard.manifest.reading import FILE

__all__ = [
    "FILE",
    "FORMAT",
    "FORMAT_VERSION",
    "Architecture",
    "CalibrationEntry",
    "DeltaLayers",
    "FileEntry",
    "HeadEntry",
    "Knot",
    "Manifest",
    "Promise",
    "Quantisation",
    "Target",
    "load",
]
