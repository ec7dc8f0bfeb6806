"""The version of the installed package."""

from __future__ import annotations

from importlib import metadata

try:
    __version__ = metadata.version("stepguard")
except metadata.PackageNotFoundError:
    __version__ = "0+source"  # a source tree that was never installed
