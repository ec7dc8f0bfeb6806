"""Packages that only an export needs, imported when they are used."""

from __future__ import annotations

import importlib
from typing import Any

from stepguard.errors import ExportError


def need(module: str) -> Any:
    """Imports `module`; raises ExportError that says what to install when it is absent."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ExportError(
            f"package {package}",
            expected="it to be installed",
            got=str(error),
            fix="Run: pip install 'stepguard[export]'",
        ) from error
