"""Planted facts, words and warnings: what any command may print."""

from __future__ import annotations

import logging
from typing import Any

from rich.table import Table

from stepguard.cli import info
from stepguard.cli.show import console
from tests.cli.planted import WORDS
from tests.cli.planted_place import Place
from tests.cli.ran import Ran


def machine(at: Place) -> Ran:
    facts = info.gather()
    facts |= {"system": WORDS, "cpu": WORDS, "warnings": [WORDS], "python": WORDS}
    facts["onnxruntime"] = {"version": WORDS, "wheel": WORDS, "path": WORDS, "build": WORDS}
    facts["packages"] = {WORDS: WORDS}
    at.patch.setattr(info, "gather", lambda: facts)
    return at.run("info")


def unknown_command(at: Place) -> Ran:
    return at.run(WORDS)


def unknown_option(at: Place) -> Ran:
    return at.run("moderate", "a", "b", WORDS, f"--{WORDS}")


def wrong_value(at: Place) -> Ran:
    return at.run("calibrate", "a", "b", "--target-fnr", "3", "--mode", WORDS)


def warned(at: Place) -> Ran:
    def gather() -> dict[str, Any]:
        logging.getLogger("stepguard").warning("the file %s is odd", WORDS)
        raise OSError(5, WORDS, WORDS)

    at.patch.setattr(info, "gather", gather)
    return at.run("info")


def printed(at: Place) -> Ran:
    """What commands print that escape nothing: the console itself holds."""

    def run(_: object) -> int:
        table = Table(title=WORDS, caption=WORDS)
        table.add_column(WORDS, footer=WORDS)
        table.add_row(WORDS)
        for out in (console(), console(stderr=True)):
            out.print(table)
            out.print(WORDS)
            out.print(WORDS, style="red", soft_wrap=True)
        return 0

    at.patch.setattr(info, "run", run)
    return at.run("info")


CASES = [machine, unknown_command, unknown_option, wrong_value, warned, printed]
SHOW = {machine, unknown_option, warned}
