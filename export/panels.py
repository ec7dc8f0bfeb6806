"""Memory layouts of the model directory: panels of 16 output columns.

A panel holds 16 rows of the checkpoint's matrix (which are the output columns of the operation) so
that one vector instruction serves 16 outputs; 8 (int4) or 4 (int8) consecutive k of a column lie in
32 bits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .quantise import BLOCK, Blocks
from .tensors import Bytes, Floats

PANEL = 16


def panels_of(rows: int) -> int:
    """How many panels hold that many rows."""
    return -(-rows // PANEL)


def pad_rows(rows: Floats) -> Floats:
    """float32 rows up to a whole number of panels, zeros at the end."""
    missing = -len(rows) % PANEL
    return np.pad(rows, ((0, missing), (0, 0))) if missing else rows


def pad_blocks(blocks: Blocks) -> Blocks:
    """Blocks up to a whole number of panels; padding has value 0 and scale 0."""
    missing = -len(blocks.values) % PANEL
    if not missing:
        return blocks
    return Blocks(
        np.pad(blocks.values, ((0, missing), (0, 0))), np.pad(blocks.scales, ((0, missing), (0, 0)))
    )


def pack_float32(rows: Floats) -> Floats:
    """float32 [16 p, k] -> [p, k, 16]."""
    return np.ascontiguousarray(rows.reshape(-1, PANEL, rows.shape[1]).transpose(0, 2, 1))


def pack_int8(values: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """int8 [16 p, Kp] -> [p, Kp / 4, 16, 4]: 4 consecutive k of a column together."""
    cells = values.reshape(-1, PANEL, values.shape[1] // 4, 4)
    return np.ascontiguousarray(cells.transpose(0, 2, 1, 3))


def pack_int4(values: npt.NDArray[np.int8]) -> Bytes:
    """int8 [16 p, Kp] in -8..7 -> uint8 [p, Kp / 8, 16, 4].

    The 4 bytes are a little-endian u32 whose nibble i is value + 8 of k = 8 g + i.
    """
    cells = (values + np.int8(8)).view(np.uint8).reshape(-1, PANEL, values.shape[1] // 8, 8)
    cells = cells.transpose(0, 2, 1, 3)
    return np.ascontiguousarray(cells[..., 0::2] | cells[..., 1::2] << 4)


def pack_scales(scales: npt.NDArray[np.float16]) -> npt.NDArray[np.float16]:
    """fp16 [16 p, Kp / 32] -> [p, Kp / 32, 16]."""
    return np.ascontiguousarray(scales.reshape(-1, PANEL, scales.shape[1]).transpose(0, 2, 1))


def weight_shape(form: str, panels: int, k: int) -> tuple[int, ...]:
    """Shape of the packed weight of `panels` panels; `form` is float32, int8 or int4."""
    padded = -(-k // BLOCK) * BLOCK
    return {
        "float32": (panels, k, PANEL),
        "int8": (panels, padded // 4, PANEL, 4),
        "int4": (panels, padded // 8, PANEL, 4),
    }[form]


def scales_shape(panels: int, k: int) -> tuple[int, ...]:
    """Shape of the packed scales that go with a quantised weight."""
    return (panels, -(-k // BLOCK), PANEL)
