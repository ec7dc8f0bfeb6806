"""Trajectories from a grammar of tasks, tools, risks and defences: pairs of an unsafe one and its
safe twin, which differ in the act and in as little else as can be."""

from __future__ import annotations

from stepguard.train.generator.make import Pair, families, generate, held_out, pairs, write
from stepguard.train.generator.pair import chosen_pair, write_pair

__all__ = [
    "Pair",
    "chosen_pair",
    "families",
    "generate",
    "held_out",
    "pairs",
    "write",
    "write_pair",
]
