"""Files that a measurement writes: refused before it begins, not when an hour of it is over."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from stepguard.cli.arguments import output_file
from stepguard.cli.show import print_json

PICTURES = (".png", ".svg")
_TEXT = "write everything as one JSON object, too"


def add_json_file(parser: argparse.ArgumentParser) -> None:
    """--json FILE."""
    parser.add_argument("--json", type=output_file, metavar="FILE", help=_TEXT)


def add_json_output(parser: argparse.ArgumentParser) -> None:
    """--json [FILE]; `give_json` knows what it says."""
    text = f"{_TEXT}; without FILE: print that object alone"
    parser.add_argument(
        "--json", type=_file_or_nothing, nargs="?", const=True, metavar="FILE", help=text
    )


def add_plot(parser: argparse.ArgumentParser) -> None:
    """--plot FILE."""
    text = f"draw the result: {' or '.join(PICTURES)}"
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help=text)


def picture_file(text: str) -> Path:
    """The same, of a kind that can be drawn.

    Raises:
        ArgumentTypeError: it ends otherwise, or cannot be written.
    """
    path = Path(text)
    if path.suffix not in PICTURES:
        names = " or ".join(PICTURES)
        raise argparse.ArgumentTypeError(f"expected a name that ends in {names}, got {text!r}")
    return output_file(text)


def write_json(file: Path, report: Mapping[str, object]) -> None:
    """Writes it, indented."""
    file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def give_json(wanted: Path | bool | None, report: Mapping[str, object]) -> bool:
    """What --json of `add_json_output` asks for; returns whether tables are wanted beside it."""
    if isinstance(wanted, Path):
        write_json(wanted, report)
    elif wanted:
        print_json(report)
    return wanted is not True


def _file_or_nothing(text: str) -> Path:
    """A file; a folder there is the model of a command that is to print, and has to come first."""
    try:
        return output_file(text)
    except argparse.ArgumentTypeError as error:
        hint = "" if not Path(text).is_dir() else "; to print it, put --json behind all else"
        raise argparse.ArgumentTypeError(f"{error}{hint}") from error
