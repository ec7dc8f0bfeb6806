"""Types of arguments that commands share: what is wrong with one is said by what was expected."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

_MOST_THREADS = 1024


def count(text: str) -> int:
    """A positive number; ArgumentTypeError for anything else."""
    return at_least(1, text)


def seed(text: str) -> int:
    """A number from 0 up; ArgumentTypeError for anything else."""
    return at_least(0, text)


def threads(text: str) -> int:
    """A number of threads; ArgumentTypeError for more than a machine starts."""
    return at_least(1, text, _MOST_THREADS)


def at_least(least: int, text: str, most: int | None = None) -> int:
    """A whole number; ArgumentTypeError for anything else."""
    up = "up" if most is None else f"to {most}"
    wrong = f"expected a whole number from {least} {up}, got {text!r}"
    try:
        value = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(wrong) from error
    if value < least or (most is not None and value > most):
        raise argparse.ArgumentTypeError(wrong)
    return value


def output_file(text: str) -> Path:
    """A file that can be written, as far as that can be known before.

    Raises:
        ArgumentTypeError: it is a folder, or has none that is there and may be written to.
    """
    path = Path(text)
    if not text or text.endswith("/") or _is_folder(path):
        got = f"the folder {text}" if text else "an empty name"
        raise argparse.ArgumentTypeError(f"expected a file to write, got {got}")
    folder = path.parent
    if not _is_folder(folder):
        raise argparse.ArgumentTypeError(f"expected a file in a folder that is there, got {text}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise argparse.ArgumentTypeError(f"expected a file that may be written, got {text}")
    return path


def _is_folder(path: Path) -> bool:
    """Whether it is one; a name that the system cannot take is no file."""
    try:
        return path.is_dir()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from error
