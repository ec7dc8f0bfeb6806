"""Lays the rooms out as the package `stepguard`, as links, for tools that read sources.

The build maps `export/` to `stepguard.export` and so on (pyproject.toml, tool.scikit-build). A type
checker that has no install to look at finds the same names in this view.
"""

from __future__ import annotations

import shutil
import sys
import tomllib
from pathlib import Path


def lay_out(root: Path, view: Path) -> None:
    """Makes `view/stepguard` anew, from the table of the build."""
    table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    packages: dict[str, str] = table["tool"]["scikit-build"]["wheel"]["packages"]
    shutil.rmtree(view, ignore_errors=True)
    for name, source in sorted(packages.items()):
        target = view / name
        if "/" in name:
            target.symlink_to(root / source)
            continue
        target.mkdir(parents=True)
        for entry in (root / source).iterdir():
            (target / entry.name).symlink_to(entry)


if __name__ == "__main__":
    lay_out(Path(__file__).resolve().parent.parent, Path(sys.argv[1]))
