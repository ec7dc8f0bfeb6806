"""What all commands print with: consoles, harmless text, model headings."""

from __future__ import annotations

import argparse
import json
import sys
import unicodedata
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepguard.guard import Guard

_STYLES = {"safe": "green", "unsafe": "bold red", "unsure": "yellow", "unavailable": "magenta"}
_WIDTH = 120  # of what is written into a file or a pipe
# Control, format (direction marks too), surrogates, and characters that end a line.
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leaves it to `main`; rich would end the process with status 1."""
        raise BrokenPipeError


def console() -> Console:
    """Standard output for people; content is never taken for markup."""
    width = None if sys.stdout.isatty() else _WIDTH
    return _Console(markup=False, highlight=False, emoji=False, width=width)


def plain(text: str, most: int | None = None) -> str:
    """Text that a terminal only prints: whatever could steer it is shown as an escape.

    most: longest result in characters; what is cut off is shown as an ellipsis.
    """
    head = text if most is None else text[: most + 1]
    shown = "".join(map(_harmless, head))
    return shown if most is None or len(shown) <= most else shown[: most - 1] + "…"


def _harmless(sign: str) -> str:
    if unicodedata.category(sign) not in _UNSAFE:
        return sign
    return sign.encode("unicode_escape", "surrogatepass").decode("ascii")


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


def model_facts(path: str, guard: Guard) -> dict[str, Any]:
    """Which model judged, and what it ran on."""
    return {
        "path": path,
        "sha256": guard.manifest.sha256,
        "prompt": guard.prompt.name,
        "prompt_sha256": guard.prompt.sha256,
        "trained": guard.trained,
        "isa": guard.isa,
        "threads": guard.threads,
        "kv": guard.kv,
    }


def formatted(description: str) -> dict[str, Any]:
    """Arguments of a command's parser whose help keeps its line breaks."""
    formatter = argparse.RawDescriptionHelpFormatter
    return {"description": description, "formatter_class": formatter}


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option --json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object, for machines")
