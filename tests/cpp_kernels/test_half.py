"""Half precision against numpy, bit for bit."""

from __future__ import annotations

import numpy as np
from kernel_library import Kernels


def test_every_half(kernels: Kernels) -> None:
    halves = np.arange(65536, dtype=np.uint16)
    got = kernels.half_to_float(halves)
    wanted = halves.view(np.float16).astype(np.float32)
    number = ~np.isnan(wanted)
    assert (np.isnan(got) == ~number).all()
    assert (got.view(np.uint32)[number] == wanted.view(np.uint32)[number]).all()
    back = kernels.float_to_half(got)
    assert (back[number] == halves[number]).all()
    assert np.isnan(back[~number].view(np.float16)).all()


def test_rounding(kernels: Kernels) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, 1_000_000, dtype=np.uint32)
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    ties = (halves[:-1] + halves[1:]) / 2
    near = [np.nextafter(ties, np.float32(direction)) for direction in (0, np.inf)]
    edges = np.array([65519.99, 65520, 65536, 3e38, np.inf, 2**-25, 2.0001**-25, 1e-45], np.float32)
    x = np.concatenate([bits.view(np.float32), ties, *near, edges])
    x = np.concatenate([x, -x])
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = x.astype(np.float16)
    got = kernels.float_to_half(x).view(np.float16)
    number = ~np.isnan(wanted)
    assert (np.isnan(got) == ~number).all()
    assert (got.view(np.uint16)[number] == wanted.view(np.uint16)[number]).all()
