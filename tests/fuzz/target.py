"""What a fuzz target is: it takes any bytes, and parses them or raises one of its named errors."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from stepguard.errors import StepguardError


@dataclass(frozen=True)
class Target:
    """One reader of foreign bytes.

    run: reads the input; what it raises beside `errors` is a finding. seeds: valid inputs, made on
    the spot. mutate: a neighbour of an input, for what bytes alone would hardly reach. words: what
    the format is made of. most: longest input in bytes.
    """

    name: str
    run: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    errors: tuple[type[StepguardError], ...]
    mutate: Callable[[bytes, Random], bytes]
    words: tuple[bytes, ...] = ()
    most: int = 8192

    def accepts(self, data: bytes) -> bool:
        """True: it was read; False: refused by name. Whatever else is raised is a finding."""
        try:
            self.run(data)
        except self.errors:
            return False
        return True


def memory() -> str | None:
    """A folder whose files cost nothing to write, or None for the usual one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@cache
def folder() -> Path:
    """A folder of this process for the files that readers want; $TMPDIR may say where."""
    made = tempfile.mkdtemp(prefix="fuzz-", dir=os.environ.get("TMPDIR") or memory())
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def as_file(name: str, data: bytes) -> Path:
    """The input as a file of that name."""
    path = folder() / name
    path.write_bytes(data)
    return path
