"""Packages that only an export needs, imported when they are used."""

from __future__ import annotations

import importlib
from typing import Any

from stepguard.errors import ExportError
from stepguard.extras import needs


def need(module: str) -> Any:
    """Imports `module`; raises ExportError that says what to install when it is absent."""
    package = f"package {module.partition('.')[0]}"
    with needs("export", package, "it to be installed", ExportError):
        return importlib.import_module(module)
