"""What an install calls and leaves."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tests.cli.ran import Ran

Run = Callable[..., Ran]
PIP = [sys.executable, "-P", "-m", "pip", "install", "--no-deps"]


def content(folder: Path) -> dict[str, str]:
    """The hash of every file."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def spoil(path: Path) -> None:
    """Changes the last byte."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def environment() -> dict[str, str]:
    """This process's, so that the same package is imported."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
