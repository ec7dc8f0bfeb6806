"""Which format each stored matrix takes in the model directory.

| stored                    | auto               | int4    | int8           | float32 |
|---------------------------|--------------------|---------|----------------|---------|
| GGUF Q4_0                 | int4, kept         | kept    | kept, promoted | float32 |
| GGUF Q8_0                 | int8, kept         | int4    | kept           | float32 |
| GGUF Q4_1, Q4_K, Q6_K     | int8               | int4    | int8           | float32 |
| GGUF F32, F16, BF16       | int8               | int4    | int8           | float32 |
| safetensors               | int4               | int4    | int8           | float32 |

Kept means bit for bit. Everything else that ends in a quantised format is quantised here. A fused
matrix takes the widest format of its parts; kept Q4_0 blocks are int8 blocks as they stand. The
gates of delta layers (`Linear.exact`), their convolution and all norms are float32 in any case.
"""

from __future__ import annotations

import logging
from typing import Literal

from .tensors import FLOAT_KINDS

Format = Literal["float32", "int8", "int4"]
QUANTS = ("auto", "float32", "int8", "int4")
_WIDTH: dict[Format, int] = {"int4": 0, "int8": 1, "float32": 2}
_KEPT: dict[str, Format] = {"Q4_0": "int4", "Q8_0": "int8"}

log = logging.getLogger("stepguard.export")


def format_of(kind: str, quant: str, form: str, merged: bool) -> tuple[Format, bool]:
    """(format, kept bit for bit) of a matrix of type `kind` in a file of `form`.

    `merged` says that an adapter changes it, so that nothing can be kept.
    """
    if quant == "float32":
        return "float32", False
    kept = None if merged else _KEPT.get(kind)
    if quant == "auto":
        return kept or ("int4" if form == "safetensors" else "int8"), kept is not None
    if quant == "int8":
        return "int8", kept is not None
    return "int4", kept == "int4"


def widest(formats: list[Format]) -> Format:
    """The format that holds all of them without loss."""
    return max(formats, key=lambda form: _WIDTH[form])


class Journal:
    """Says what happens to the matrices, each thing once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, level: int, text: str) -> None:
        """Logs a text the first time that it is said."""
        if text not in self._said:
            self._said.add(text)
            log.log(level, "%s", text)

    def note(self, kind: str, form: str, merged: bool) -> None:
        """Logs that matrices stored as `kind` are quantised to `form`."""
        quantised = kind not in FLOAT_KINDS
        if quantised and merged:
            text = f"{kind} matrices are dequantised, merged with the adapter: {form}"
            self.say(logging.WARNING, text)
        elif quantised and form != "float32":
            self.say(logging.WARNING, f"{kind} matrices are requantised to {form}")
        elif quantised:
            self.say(logging.INFO, f"{kind} matrices are dequantised to float32")
        elif form != "float32":
            self.say(logging.INFO, f"{kind} matrices are quantised to {form}")
