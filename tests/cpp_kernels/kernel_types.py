"""What goes into a kernel call and what comes out of it."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PAGE = 32

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


class Shape(ctypes.Structure):
    """AttentionShape of kernels.h, field by field. Keeps the arrays of its norms alive."""

    _fields_ = (
        ("heads", ctypes.c_int64),
        ("kv_heads", ctypes.c_int64),
        ("head_dim", ctypes.c_int64),
        ("rotary_dim", ctypes.c_int64),
        ("scale", ctypes.c_float),
        ("epsilon", ctypes.c_float),
        ("norm_offset", ctypes.c_float),
        ("q_norm_pointer", ctypes.c_void_p),
        ("k_norm_pointer", ctypes.c_void_p),
        ("kv_half", ctypes.c_bool),
    )
    heads: int
    kv_heads: int
    head_dim: int
    rotary_dim: int
    scale: float
    epsilon: float
    norm_offset: float
    kv_half: bool

    def __init__(
        self,
        heads: int,
        kv_heads: int,
        head_dim: int,
        *,
        kv_half: bool,
        rotary_dim: int | None = None,
        scale: float | None = None,
        q_norm: Floats | None = None,
        k_norm: Floats | None = None,
        norm_offset: float = 0.0,
    ) -> None:
        rotary = head_dim // 2 * 2 if rotary_dim is None else rotary_dim
        scale = head_dim**-0.5 if scale is None else scale
        super().__init__(heads, kv_heads, head_dim, rotary, scale, 1e-6, norm_offset)
        self.q_norm, self.k_norm = q_norm, k_norm
        self.q_norm_pointer = None if q_norm is None else q_norm.ctypes.data
        self.k_norm_pointer = None if k_norm is None else k_norm.ctypes.data
        self.kv_half = kv_half

    @property
    def group(self) -> int:
        return self.heads // self.kv_heads

    @property
    def page_type(self) -> npt.DTypeLike:
        return np.float16 if self.kv_half else np.float32

    def empty_arena(self, pages: int) -> Array:
        """Pages of NaN, [pages][kv_heads][2][32 * head_dim]."""
        shape = (pages, self.kv_heads, 2, PAGE * self.head_dim)
        return np.full(shape, np.nan, self.page_type)

    def keys(self, page: Array) -> Array:
        """The K planes of a page, [kv_heads][head_dim][32]."""
        return page[:, 0].reshape(self.kv_heads, self.head_dim, PAGE)

    def values(self, page: Array) -> Array:
        """The V planes of a page, [kv_heads][32][head_dim]."""
        return page[:, 1].reshape(self.kv_heads, PAGE, self.head_dim)


@dataclass(frozen=True)
class Weights:
    """A packed Linear, with the float64 matrix [k, n] that it stands for."""

    format: str
    n: int
    k: int
    data: Array
    scales: npt.NDArray[np.float16] | None
    dense: Doubles
    bias: Floats | None = None


class Guarded:
    """A float32 output with guard floats on both sides, all of a value no kernel writes."""

    MARK = np.float32(-123.25)

    def __init__(self, *shape: int) -> None:
        self._all = np.full(int(np.prod(shape)) + 64, self.MARK, np.float32)
        self.array = self._all[32:-32].reshape(shape)

    def checked(self) -> Floats:
        """The output, once the guards are found untouched."""
        assert (self._all[:32] == self.MARK).all(), "written before the output"
        assert (self._all[-32:] == self.MARK).all(), "written behind the output"
        return self.array
