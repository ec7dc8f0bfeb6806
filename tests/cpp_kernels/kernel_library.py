"""The kernel tables, called through ctypes with numpy arrays."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from kernel_types import Array, Floats, Guarded, Shape, Weights

FORMATS = {"float32": 0, "int8": 1, "int4": 2}
ACTIVATIONS = {"fp32": 0, "int8": 1, "bf16": 2}
EPILOGUES = {"none": 0, "residual": 1, "swiglu": 2}


def _pointer(array: Array | None) -> ctypes.c_void_p:
    if array is None:
        return ctypes.c_void_p()
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


class Kernels:
    """All tables of the library; every call checks that the named table is the one that ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._library = ctypes.CDLL(str(folder / "libstepguard_kernels_capi.so"))

    def _call(self, function: str, table: str, *arguments: Any) -> None:
        entry = self._library[function]
        entry.restype = ctypes.c_char_p
        used = entry(table.encode(), *arguments)
        assert used == table.encode(), f"{function}: asked for {table}, {used} ran"

    def _text(self, function: str, argument: bytes | ctypes.c_int64) -> str | None:
        entry = self._library[function]
        entry.restype = ctypes.c_char_p
        found: bytes | None = entry(argument)
        return None if found is None else found.decode()

    def tables(self) -> list[str]:
        names: list[str] = []
        while name := self._text("sg_table_name", ctypes.c_int64(len(names))):
            names.append(name)
        return names

    def description(self, table: str) -> str | None:
        return self._text("sg_table_description", table.encode())

    def problem(self, table: str) -> str | None:
        return self._text("sg_table_problem", table.encode())

    def multiplies_bfloat16(self, table: str) -> bool:
        return bool(self._library.sg_multiplies_bfloat16(table.encode()))

    def half_to_float(self, x: npt.NDArray[np.uint16]) -> Floats:
        y = np.empty(x.size, np.float32)
        self._library.sg_half_to_float(_pointer(x), ctypes.c_int64(x.size), _pointer(y))
        return y

    def float_to_half(self, x: Floats) -> npt.NDArray[np.uint16]:
        y = np.empty(x.size, np.uint16)
        self._library.sg_float_to_half(_pointer(x), ctypes.c_int64(x.size), _pointer(y))
        return y

    def page_bytes(self, shape: Shape) -> int:
        entry = self._library.sg_page_bytes
        entry.restype = ctypes.c_int64
        return int(entry(ctypes.byref(shape)))

    def rms_norm(
        self,
        table: str,
        x: Floats,
        weight: Floats,
        offset: float = 0.0,
        epsilon: float = 1e-6,
        in_place: bool = False,
    ) -> Floats:
        y = Guarded(*x.shape)
        source = x
        if in_place:
            y.array[:] = x
            source = y.array
        sizes = (ctypes.c_float(epsilon), ctypes.c_float(offset), *_longs(*x.shape))
        self._call(
            "sg_rms_norm", table, _pointer(source), _pointer(weight), *sizes, _pointer(y.array)
        )
        return y.checked()

    def embed(
        self, table: str, ids: npt.NDArray[np.int32], data: Array, scales: Array | None
    ) -> Floats:
        y = Guarded(ids.size, data.shape[1])
        rows, width = _longs(*y.array.shape)
        arguments = (_pointer(ids), rows, _pointer(data), _pointer(scales), width)
        self._call("sg_embed", table, *arguments, _pointer(y.array))
        return y.checked()

    def read_row(
        self, table: str, x: Floats, row: int, data: Array, scales: Array | None
    ) -> np.float32:
        y = Guarded(1)
        number, width = _longs(row, x.size)
        arguments = (_pointer(x), number, _pointer(data), _pointer(scales), width)
        self._call("sg_read_row", table, *arguments, _pointer(y.array))
        return np.float32(y.checked()[0])

    def read_rows(
        self, table: str, x: Floats, begin: int, end: int, data: Array, scales: Array | None
    ) -> Floats:
        y = Guarded(x.shape[0], end - begin)
        rows, first, last, width = _longs(x.shape[0], begin, end, x.shape[1])
        arguments = (_pointer(x), rows, first, last, _pointer(data), _pointer(scales), width)
        self._call("sg_read_rows", table, *arguments, _pointer(y.array))
        return y.checked()

    def linear(
        self,
        table: str,
        weights: Weights,
        x: Floats,
        epilogue: str = "none",
        residual: Floats | None = None,
        activations: str = "fp32",
        block_cut: int = 1 << 40,
        unit_cut: int = 1 << 40,
    ) -> Floats:
        y = Guarded(x.shape[0], weights.n // 2 if epilogue == "swiglu" else weights.n)
        self._call(
            "sg_linear",
            table,
            ctypes.c_int32(FORMATS[weights.format]),
            ctypes.c_int32(ACTIVATIONS[activations]),
            *_longs(weights.n, weights.k),
            _pointer(weights.data),
            _pointer(weights.scales),
            _pointer(weights.bias),
            ctypes.c_int32(EPILOGUES[epilogue]),
            _pointer(x),
            *_longs(x.shape[0]),
            _pointer(residual),
            _pointer(y.array),
            *_longs(block_cut, unit_cut),
        )
        return y.checked()

    def prepare(
        self,
        table: str,
        shape: Shape,
        qkv: Floats,
        angles: tuple[Floats, Floats],
        page: Array,
        slot: int,
        heads: tuple[int, int] | None = None,
    ) -> Floats:
        """Writes K and V of one row into the page; returns its q, NaN where heads were left out."""
        q = Guarded(shape.heads * shape.head_dim)
        q.array[:] = np.nan
        first, last = heads or (0, shape.kv_heads)
        self._call(
            "sg_attention_prepare",
            table,
            ctypes.byref(shape),
            _pointer(qkv),
            _pointer(angles[0]),
            _pointer(angles[1]),
            *_longs(first, last),
            _pointer(q.array),
            _pointer(page),
            *_longs(slot),
        )
        return q.checked()

    def attention(
        self,
        table: str,
        shape: Shape,
        q: Floats,
        position: int,
        pages: npt.NDArray[np.int32],
        arena: Array,
        row_cut: int = 1 << 40,
    ) -> Floats:
        """All kv heads, at most `row_cut` rows a call."""
        out = Guarded(*q.shape)
        for first in range(0, q.shape[0], row_cut):
            rows = slice(first, min(first + row_cut, q.shape[0]))
            for head in range(shape.kv_heads):
                self._call(
                    "sg_attention",
                    table,
                    ctypes.byref(shape),
                    _pointer(q[rows]),
                    *_longs(position + first, rows.stop - first),
                    _pointer(pages),
                    _pointer(arena),
                    *_longs(head),
                    _pointer(out.array[rows]),
                )
        return out.checked()

    def copy_page(self, table: str, shape: Shape, source: Array, target: Array, count: int) -> None:
        arguments = (ctypes.byref(shape), _pointer(source), _pointer(target), *_longs(count))
        self._call("sg_copy_page", table, *arguments)


def _longs(*values: int) -> tuple[ctypes.c_int64, ...]:
    return tuple(ctypes.c_int64(value) for value in values)
