"""Finds the ONNX Runtime library inside an installed wheel, without importing its package."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from stepguard.errors import RuntimeMissingError
from stepguard.runtime import _core

_WHEELS = ("onnxruntime", "onnxruntime-gpu")
_FIX = "Type: pip install 'stepguard[cpu]' (or 'stepguard[gpu]')"


@dataclass(frozen=True)
class OrtLibrary:
    """The library that an engine opens."""

    path: str
    wheel: str
    version: str


def _installed_wheels() -> dict[str, str]:
    found = {}
    for name in _WHEELS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _package_folder() -> Path | None:
    # Only the top level: asking for a submodule would import the package, and importing it starts
    # its telemetry.
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def find_onnxruntime() -> OrtLibrary:
    """The shared library inside the wheel `onnxruntime` or `onnxruntime-gpu`.

    Raises:
        RuntimeMissingError: neither or both wheels are installed, or the file is not there.
    """
    wheels = _installed_wheels()
    if not wheels:
        raise RuntimeMissingError(
            "ONNX Runtime",
            expected="one of the wheels onnxruntime, onnxruntime-gpu",
            got="none",
            fix=_FIX,
        )
    if len(wheels) > 1:
        listed = ", ".join(f"{name} {version}" for name, version in wheels.items())
        raise RuntimeMissingError(
            "ONNX Runtime",
            expected="one wheel (both write into the same folder)",
            got=listed,
            fix="Type: pip uninstall -y onnxruntime onnxruntime-gpu, then "
            "pip install 'stepguard[cpu]' (or 'stepguard[gpu]')",
        )
    wheel, version = next(iter(wheels.items()))
    folder = _package_folder()
    files = sorted(folder.glob("capi/libonnxruntime.so*")) if folder else []
    if len(files) != 1:
        raise RuntimeMissingError(
            f"ONNX Runtime wheel {wheel} {version}",
            expected="one file capi/libonnxruntime.so*",
            got=", ".join(file.name for file in files) or "none",
            fix=f"Type: pip install --force-reinstall {wheel}",
        )
    return OrtLibrary(str(files[0]), wheel, version)


def library_version(path: str) -> tuple[str, str]:
    """Opens the library: (version, build string)."""
    return _core.ort_library(path)


def loaded_by_others(path: str) -> bool:
    """True when this very file is already loaded in the process."""
    return _core.is_loaded(path)
