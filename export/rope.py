"""Rotary frequencies: default, "linear" and "llama3", computed in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from stepguard.errors import ExportError, ModelFormatError

from .tensors import Floats

Doubles = npt.NDArray[np.float64]

_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def check_scaling(where: str, rope: Mapping[str, Any], context: int) -> dict[str, Any] | None:
    """The scaling that a checkpoint asks for, with the fields it needs; None for plain rope.

    Raises ExportError for a kind that we do not compute, by its name.
    """
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise ExportError(
            f"{where}: partial_rotary_factor", expected="1", got=repr(rope["partial_rotary_factor"])
        )
    if kind in ("default", "none"):
        return None
    if kind == "linear":
        return {"rope_type": kind, "factor": _number(where, rope, "factor")}
    if kind == "llama3":
        given = {"original_max_position_embeddings": context} | dict(rope)
        return {"rope_type": kind} | {key: _number(where, given, key) for key in _LLAMA3}
    raise ExportError(
        f"{where}: rope scaling",
        expected="default, linear or llama3",
        got=repr(kind),
        fix="This kind of rope scaling is not supported",
    )


def _number(where: str, rope: Mapping[str, Any], key: str) -> float:
    value = rope.get(key)
    if type(value) not in (int, float) or not 0 < float(value or 0) < math.inf:
        raise ModelFormatError(
            f"{where}: rope scaling {key}", expected="a positive number", got=repr(value)
        )
    return float(value or 0)


def inverse_frequencies(
    theta: float, dim: int, scaling: Mapping[str, Any] | None, factors: Floats | None = None
) -> Floats:
    """float32 [dim / 2]: radians per position of each rotated pair.

    `factors` are the divisors that a GGUF file stores as rope_freqs.weight.
    """
    frequencies: Doubles = theta ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
    if factors is not None:
        frequencies = frequencies / factors.astype(np.float64)
    if scaling is not None and scaling["rope_type"] == "linear":
        frequencies = frequencies / scaling["factor"]
    if scaling is not None and scaling["rope_type"] == "llama3":
        frequencies = _llama3(frequencies, scaling)
    return frequencies.astype(np.float32)


def _llama3(frequencies: Doubles, scaling: Mapping[str, Any]) -> Doubles:
    """Long waves are slowed by the factor, short ones kept, those between are blended."""
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    # How often a pair turns within the original context: at most `low` is scaled, above `high` not.
    share = np.clip((turns - low) / (high - low), 0.0, 1.0)
    slowed: Doubles = frequencies / scaling["factor"]
    blended: Doubles = (1 - share) * slowed + share * frequencies
    return blended
