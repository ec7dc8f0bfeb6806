"""What all commands print with: consoles, tables, options that many have."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from stepguard.harmless import plain, plain_lines

__all__ = [
    "add_activations",
    "add_json",
    "console",
    "formatted",
    "grid",
    "plain",
    "plain_lines",
    "print_json",
    "status_text",
]

_STYLES = {"safe": "green", "unsafe": "bold red", "unsure": "yellow", "unavailable": "magenta"}
_WIDTH = 120  # of what is written into a file or a pipe


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leaves it to `main`; rich would end the process with status 1."""
        raise BrokenPipeError

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments, of which only rich's own can steer the terminal.

        Commands escape content before they lay it out, so that widths are right. What one of them
        forgets ends here.
        """
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(plain_lines(segment.text), segment.style)


def console(*, stderr: bool = False) -> Console:
    """Standard output for people, or standard error; content is never taken for markup."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream is not None and stream.isatty() else _WIDTH
    return _Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width)


def status_text(status: str) -> Text:
    """A status in its colour."""
    return Text(status, style=_STYLES.get(status, ""))


def print_json(value: object) -> None:
    """One JSON object, indented, ASCII only."""
    json.dump(value, sys.stdout, indent=1)
    sys.stdout.write("\n")


def grid() -> Table:
    """A table of two columns without lines: names and values."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def formatted(description: str) -> dict[str, Any]:
    """Arguments of a command's parser whose help keeps its line breaks."""
    formatter = argparse.RawDescriptionHelpFormatter
    return {"description": description, "formatter_class": formatter}


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option --json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object, for machines")


def add_activations(parser: argparse.ArgumentParser, *, calibrated: bool = True) -> None:
    """The option --activations. calibrated: whether a guard's calibration decides when nobody
    says."""
    first = "what the guard was calibrated for; else " if calibrated else ""
    parser.add_argument(
        "--activations",
        choices=["fp32", "int8", "bf16"],
        help=f"what int4 and int8 weights are multiplied with ({first}bf16 for int4 weights on a "
        "CPU with AMX, int8 on others; bf16 needs AMX)",
    )
