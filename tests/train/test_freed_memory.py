"""What the C library does with freed memory: it holds for a process, so each case has its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import resource, sys
import numpy as np
from stepguard.train.lora.memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(40):
    np.ones(40 * 2**20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_blocks_are_not_mapped_again() -> None:
    """40 blocks of 40 MiB one after the other: without it each is mapped, and faults, anew."""
    pytest.importorskip("torch", reason="the package train.lora needs PyTorch")
    faults = {}
    for how in ("keep", "give back"):
        program = [sys.executable, "-c", _PROGRAM, how]
        found = subprocess.run(program, capture_output=True, text=True, timeout=120, check=True)
        faults[how] = int(found.stdout)
    assert faults["keep"] < faults["give back"] / 3
