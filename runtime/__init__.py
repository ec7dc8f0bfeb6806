"""Model directory + batch of segments -> logits: a thin face on the compiled engine."""

from __future__ import annotations

from stepguard.runtime._activations import ACTIVATIONS, activations_of, multiplies_bfloat16
from stepguard.runtime._device import DEVICES
from stepguard.runtime._engine import Engine, Result, Segment, Ticket, close_engines, core_identity
from stepguard.runtime._isa import IsaTable, active_isa, isa_tables
from stepguard.runtime._library import (
    OrtLibrary,
    find_onnxruntime,
    library_version,
    loaded_by_others,
)
from stepguard.runtime._resources import default_memory, default_threads, usable_cores
from stepguard.runtime._screen import Classifier

try:
    from stepguard.runtime._core import PAGE_TOKENS, State
except ImportError as error:  # pragma: no cover - a broken installation
    raise ImportError(
        "stepguard.runtime._core: expected the compiled extension of this Python, got "
        f"'{error}'. Install stepguard from a wheel, or build it with `pip install .`"
    ) from error

__all__ = [
    "ACTIVATIONS",
    "DEVICES",
    "PAGE_TOKENS",
    "Classifier",
    "Engine",
    "IsaTable",
    "OrtLibrary",
    "Result",
    "Segment",
    "State",
    "Ticket",
    "activations_of",
    "active_isa",
    "close_engines",
    "core_identity",
    "default_memory",
    "default_threads",
    "find_onnxruntime",
    "isa_tables",
    "library_version",
    "loaded_by_others",
    "multiplies_bfloat16",
    "usable_cores",
]
