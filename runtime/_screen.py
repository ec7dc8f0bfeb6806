"""An encoder classifier in a session of its own, in the library that engines run in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from stepguard.runtime import _core
from stepguard.runtime._library import find_onnxruntime


class Classifier:
    """Token ids -> logits. Any number of threads may run it at once.

    Args:
        path: the ONNX file.
        threads: intra-op threads; 1 runs in the thread that calls.
        ort_library: path of the ONNX Runtime library; None finds the installed wheel's.

    Raises:
        ModelFormatError: ONNX Runtime refuses the graph, or it has other inputs and outputs.
        RuntimeMissingError: no usable ONNX Runtime.
        ValueError: `threads` is out of range.
    """

    def __init__(self, path: Path, *, threads: int = 1, ort_library: str | None = None) -> None:
        self._core = _core.Screen(
            model_path=str(path),
            ort_path=ort_library or find_onnxruntime().path,
            threads=threads,
        )

    def run(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Logits float32 [batch, labels] of token ids int64 [batch, length], every one attended to.

        Raises:
            ValueError: ids of another shape. RuntimeError: the graph refuses them.
            ForkedProcessError: called in a child of fork().
        """
        return self._core.run(ids, np.ones_like(ids))
