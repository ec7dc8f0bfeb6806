"""Makes what OpenVINO reads from a checkpoint; run as a module, it needs an environment for it.

optimum-intel traces the graph. The weights then become what its usual tool (nncf, int4_sym in
groups of 32) would make of them, only that the blocks of the grid are taken over as they are, and
the head is given the last position alone.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MODEL = "openvino_model.xml"
_BLOCK = 32
_ROWS = 8192  # of a matrix at a time: bounds the memory beside it


def blocks_of(weights: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Rows on the grid as OpenVINO stores them: the block's largest weight is -8 times its scale.

    weights: [n, k], k a multiple of 32. Returns uint8 [n, k / 2], the even weight in the low half
    of a byte, and float16 [n, k / 32, 1]. Raises ValueError for weights that are not on the grid.
    """
    blocks = weights.reshape(len(weights), -1, _BLOCK)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)
    scales = (largest / -8).astype(np.float16)
    exact = scales.astype(np.float32)
    levels = np.rint(blocks / np.where(exact == 0, 1, exact))
    if not np.array_equal(levels * exact, blocks) or levels.min() < -8 or levels.max() > 7:
        raise ValueError("weights that are not whole numbers times a scale for each 32")
    halves = levels.astype(np.int8).view(np.uint8).reshape(len(weights), -1, 2) & 15
    return halves[..., 0] | halves[..., 1] << 4, scales


def export_openvino(checkpoint: Path, out: Path) -> None:
    """Writes the folder `out`."""
    import openvino as ov

    with tempfile.TemporaryDirectory(dir=out.parent, prefix=out.name) as place:
        _trace(checkpoint, Path(place))
        model = ov.Core().read_model(Path(place) / MODEL)
        compress(model)
        head_for_last_position(model)
        out.mkdir()
        ov.save_model(model, out / MODEL)
        del model  # it maps the file that is removed now


def compress(model: Any) -> None:
    """Every matrix of an OpenVINO model in bfloat16 becomes int4. Raises as `blocks_of`."""
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant" and _is_matrix(node):
            for port in node.output(0).get_target_inputs():
                convert = port.get_node()
                if convert.get_type_name() == "Convert":
                    convert.output(0).replace(_int4(node))
    model.validate_nodes_and_infer_types()


def head_for_last_position(model: Any) -> None:
    """As OpenVINO's own generator does: only the last row enters the output matrix."""
    from openvino import opset13 as ops

    head = model.output("logits").get_node().input_value(0).get_node()
    if head.get_type_name() != "MatMul":
        raise ValueError(f"logits come from {head.get_type_name()}, not from a matrix")
    ends = [np.array([value], np.int64) for value in (-1, np.iinfo(np.int64).max, 1, 1)]
    last = ops.slice(head.input_value(0), *ends)
    head.input(0).replace_source_output(last.output(0))
    model.validate_nodes_and_infer_types()


def _is_matrix(constant: Any) -> bool:
    import openvino as ov

    shape = constant.get_output_shape(0)
    return (
        constant.get_element_type() == ov.Type.bf16 and len(shape) == 2 and shape[1] % _BLOCK == 0
    )


def _int4(constant: Any) -> Any:
    """The output of a graph that unpacks the matrix, as the plugin for CPUs knows it."""
    import openvino as ov
    from openvino import opset13 as ops

    rows, columns = constant.get_output_shape(0)
    raw = constant.data.view(np.uint16)  # NumPy has no bfloat16
    packed = np.empty((rows, columns // 2), np.uint8)
    scales = np.empty((rows, columns // _BLOCK, 1), np.float16)
    for begin in range(0, rows, _ROWS):
        part = slice(begin, begin + _ROWS)
        plain = (raw[part].astype(np.uint32) << 16).view(np.float32)
        packed[part], scales[part] = blocks_of(plain)
    stored = ov.Tensor(packed, ov.Shape([rows, columns // _BLOCK, _BLOCK]), ov.Type.i4)
    # A copy: the constant would not keep the array alive.
    levels = ops.convert(ov.op.Constant(stored, shared_memory=False), "f16")
    grid = ops.multiply(levels, ops.constant(scales))
    matrix = ops.reshape(grid, np.array([rows, columns], np.int64), False)
    return ops.convert(matrix, "f32").output(0)


def _trace(checkpoint: Path, out: Path) -> None:
    # A torchvision that was built for another torch breaks transformers, which does without one.
    sys.modules["torchvision"] = None  # type: ignore[assignment]
    import torch
    from optimum.exporters.openvino import export_from_model
    from transformers import AutoModelForCausalLM

    models: Any = AutoModelForCausalLM
    model = models.from_pretrained(checkpoint, dtype=torch.bfloat16).eval()
    task = "text-generation-with-past"
    export_from_model(model, out, task=task, stateful=True, patch_16bit_model=True)


if __name__ == "__main__":
    export_openvino(Path(sys.argv[1]), Path(sys.argv[2]))
