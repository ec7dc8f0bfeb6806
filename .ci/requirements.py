"""Prints what the named extras of pyproject.toml, the package and its build need, one a line.

pip can only install dependencies together with the package; the environment of developers wants
them first, so that an edit of a C++ file builds again without asking the registry.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(project: Path, extras: list[str]) -> list[str]:
    """The requirement strings in file order. Raises KeyError for an extra that does not exist."""
    table = tomllib.loads(project.read_text(encoding="utf-8"))
    found = [*table["build-system"]["requires"], *table["project"]["dependencies"]]
    for extra in extras:
        found += table["project"]["optional-dependencies"][extra]
    return found


if __name__ == "__main__":
    root = Path(__file__).resolve().parent.parent
    print("\n".join(requirements(root / "pyproject.toml", sys.argv[1:])))
