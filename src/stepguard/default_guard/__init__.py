"""The guard that comes with stepguard: an adapter and its calibrations, for a base from a package.

Only `stepguard default install` fetches that base; here files are read, no more.
"""

from __future__ import annotations

from stepguard.default_guard.kept import Base, Kept, Source, kept_folder, read_kept
from stepguard.default_guard.place import data_folder, holds, installed

__all__ = [
    "Base",
    "Kept",
    "Source",
    "data_folder",
    "holds",
    "installed",
    "kept_folder",
    "read_kept",
]
