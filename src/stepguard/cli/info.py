"""stepguard info: what this machine runs a guard with."""

from __future__ import annotations

import argparse
import importlib.util
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from stepguard._version import __version__
from stepguard.cli.show import add_json, console, formatted, grid, plain, print_json
from stepguard.errors import RuntimeMissingError
from stepguard.runtime import (
    active_isa,
    default_memory,
    default_threads,
    find_onnxruntime,
    isa_tables,
    library_version,
    loaded_by_others,
    usable_cores,
)

_PACKAGES = ("numpy", "tokenizers", "rich", "onnx", "gguf", "jinja2", "torch", "transformers")

_DESCRIPTION = """\
Shows CPU, kernel tables and the active one, the ONNX Runtime library, threads and versions.

  stepguard info
  STEPGUARD_ISA=generic stepguard info
"""
_EPILOG = """\
exit status: 0 when a guard could be loaded here, else 1

keys of --json: stepguard, python, system, cpu, cores, threads, memory (bytes of KV pages), isa
(active, tables), onnxruntime (wheel, version, path, build, or null), packages, warnings
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    help_text = "see what this machine runs a guard with"
    parser = commands.add_parser("info", help=help_text, epilog=_EPILOG, **formatted(_DESCRIPTION))
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints what was found; the warnings last."""
    facts = gather()
    if arguments.json:
        print_json(facts)
    else:
        _print(facts)
    return 0 if facts["onnxruntime"] and facts["isa"]["active"] else 1


def gather() -> dict[str, Any]:
    """Everything as a JSON object. Nothing that is missing is an error here; it is a warning."""
    warnings: list[str] = []
    return {
        "stepguard": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "threads": default_threads(),
        "memory": default_memory(),
        "isa": _isa(warnings),
        "onnxruntime": _onnxruntime(warnings),
        "packages": {name: _version(name) for name in _PACKAGES},
        "warnings": warnings,
    }


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What the CPU calls itself."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _isa(warnings: list[str]) -> dict[str, Any]:
    active = None
    try:
        active = active_isa()
    except RuntimeMissingError as error:
        warnings.append(str(error))
    tables = [{"name": table.name, "description": table.description} for table in isa_tables()]
    return {"active": active, "tables": tables}


def _onnxruntime(warnings: list[str]) -> dict[str, Any] | None:
    try:
        library = find_onnxruntime()
        shared = loaded_by_others(library.path)  # asked before we open it ourselves
        version, build = library_version(library.path)
    except RuntimeMissingError as error:
        warnings.append(str(error))
        return None
    if shared:
        warnings.append(
            f"{library.path} is already loaded in this process by something else, whose choice "
            "about ONNX Runtime's telemetry holds: set ORT_DISABLE_TELEMETRY=1 before it starts"
        )
    if importlib.util.find_spec("onnxruntime_genai") is not None:
        warnings.append(
            "onnxruntime-genai is installed: where it is imported first, it opens the same "
            "library, and its choice about telemetry holds"
        )
    return {"wheel": library.wheel, "version": version, "path": library.path, "build": build}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _print(facts: dict[str, Any]) -> None:
    table = grid()
    table.add_row("stepguard", facts["stepguard"])
    table.add_row("python", facts["python"])
    table.add_row("system", plain(facts["system"]))
    table.add_row("cpu", plain(f"{facts['cpu']} ({facts['cores']} cores usable)"))
    table.add_row("threads", f"{facts['threads']}, unless asked for others")
    table.add_row("memory", f"{facts['memory'] / 2**20:.0f} MiB for KV pages, at most")
    for isa in facts["isa"]["tables"]:
        mark = ", active" if isa["name"] == facts["isa"]["active"] else ""
        table.add_row("isa", f"{isa['name']}: {isa['description']}{mark}")
    if library := facts["onnxruntime"]:
        table.add_row("onnxruntime", f"{library['version']} (wheel {library['wheel']})")
        table.add_row("", plain(library["path"]))
    else:
        table.add_row("onnxruntime", "not found")
    there = [f"{name} {version}" for name, version in facts["packages"].items() if version]
    table.add_row("packages", ", ".join(there))
    out = console()
    out.print(table)
    for warning in facts["warnings"]:
        out.print(f"warning: {plain(warning)}", style="yellow")
