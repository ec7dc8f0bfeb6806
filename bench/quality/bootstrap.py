"""Intervals from families drawn again and again: what shares a family does not vary on its own."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from stepguard.bench.quality.layout import Layout
from stepguard.train.points import Floats, Ints

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number and its interval; None where it means nothing, or families are too few."""

    value: float | None
    low: float | None = None
    high: float | None = None


def draw_families(layout: Layout, records: Ints, replicates: int, seed: int) -> Floats:
    """float64 [replicates, families]: how often each family of the records is drawn.

    Of each source as many as it has, with replacement, so that a source's own interval is the
    usual one and no draw loses a source. By the source's name: other sources change nothing.
    """
    counts = np.zeros((replicates, len(layout.families)))
    for source in np.unique(layout.source[records]):
        families = np.unique(layout.family[records][layout.source[records] == source])
        name = layout.sources[source].encode("utf-8", "surrogatepass")
        generator = np.random.default_rng([seed, zlib.crc32(name)])
        shares = np.full(len(families), 1 / len(families))
        counts[:, families] = generator.multinomial(len(families), shares, size=replicates)
    return counts


def interval(values: Floats, families: int) -> tuple[float, float] | None:
    """The middle 95 % of float64 [replicates]; None for a single family, or where more than one
    replicate in ten has no value."""
    known = values[~np.isnan(values)]
    if families < 2 or len(known) == 0 or len(known) < 0.9 * len(values):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def estimated(value: float | None, drawn: Floats, families: int) -> Estimate:
    """A value with the `interval` of float64 [replicates]."""
    if value is None:
        return Estimate(None)
    return Estimate(value, *(interval(drawn, families) or ()))
