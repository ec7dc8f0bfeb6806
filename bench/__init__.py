"""Measurements: what a verdict costs, and how far a quantised guard is from its float32 self."""

from __future__ import annotations

from stepguard.bench.fidelity import Comparison, compare, read_margins
from stepguard.bench.growth import Point, measure_growth
from stepguard.bench.machine import Machine, describe_machine
from stepguard.bench.samples import Sample, read_samples

__all__ = [
    "Comparison",
    "Machine",
    "Point",
    "Sample",
    "compare",
    "describe_machine",
    "measure_growth",
    "read_margins",
    "read_samples",
]
