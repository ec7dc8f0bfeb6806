"""The kernel tables of this build, and the one that runs."""

from __future__ import annotations

import os
from dataclasses import dataclass

from stepguard.errors import RuntimeMissingError
from stepguard.runtime import _core

ISA_VARIABLE = "STEPGUARD_ISA"


@dataclass(frozen=True)
class IsaTable:
    """A table of kernels that this CPU and operating system can run."""

    name: str
    description: str


def isa_tables() -> list[IsaTable]:
    """All tables that can run here, best first; `generic` is always the last."""
    return [IsaTable(name, description) for name, description in _core.isa_tables()]


def active_isa(name: str | None = None) -> str:
    """The table that an engine takes: `name`, else the variable STEPGUARD_ISA, else the best.

    Raises:
        RuntimeMissingError: the name is unknown, or the build or the CPU lacks it.
    """
    wanted = name or os.environ.get(ISA_VARIABLE) or _core.isa_tables()[0][0]
    problem = _core.isa_problem(wanted)
    if problem:
        names = ", ".join(table for table, _ in _core.isa_tables())
        source = "isa" if name else f"the environment variable {ISA_VARIABLE}"
        raise RuntimeMissingError(
            source, expected=f"one of {names}", got=f"'{wanted}' ({problem})", fix="Leave it out."
        )
    return wanted
