"""What a Linear multiplies int4 and int8 weights with: what there is, and what runs by itself."""

from __future__ import annotations

from collections.abc import Collection

from stepguard.runtime import _core

# As the core numbers them (Activations in kernels.h).
ACTIVATIONS = {"fp32": 0, "int8": 1, "bf16": 2}
# Tables that are fastest so beside int4 weights. The reference can do it, too, for tests.
_PREFER_BFLOAT16 = {"amx"}


def multiplies_bfloat16(isa: str) -> bool:
    """Whether a kernel table can do it; the reference can, for tests."""
    return _core.multiplies_bfloat16(isa)


def activations_of(wanted: str | None, linear: Collection[str], isa: str) -> str:
    """What runs. wanted: what was asked for, or None. linear: the formats of the matrices.
    isa: the kernel table, "" on a GPU.

    Raises:
        ValueError: there is no such thing, or not for these weights or this table.
    """
    integers = not set(linear) <= {"float32"}
    if wanted is None:
        return _best(linear, isa) if integers else "fp32"
    if wanted not in ACTIVATIONS:
        names = "', '".join(ACTIVATIONS)
        raise ValueError(f"activations: expected one of '{names}', got {wanted!r}")
    if wanted != "fp32" and not integers:
        raise ValueError(f"activations: {wanted!r} needs int4 or int8 weights, these are float32")
    if wanted == "bf16" and not _core.multiplies_bfloat16(isa):
        runs = f"table '{isa}'" if isa else "GPU"
        raise ValueError(f"activations: 'bf16' needs the kernel table 'amx', this is the {runs}")
    return wanted


def _best(linear: Collection[str], isa: str) -> str:
    return "bf16" if "int4" in linear and isa in _PREFER_BFLOAT16 else "int8"
