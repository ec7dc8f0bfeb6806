"""docs/structure.md lists every source file of the project, and nothing that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterable

SOURCES = (".py", ".h", ".cc", ".cpp", ".inc", ".cu", ".cuh")
FOLDERS = (
    "src/stepguard/",
    "export/",
    "runtime/",
    "cpp_kernels/",
    "taxonomy/",
    "bench/",
    "train/",
    "hook/",
)


def listed(page: str) -> list[str]:
    """Every file of the page: a heading names a folder, each line below it one or more files."""
    found, folder = [], ""
    for line in page.splitlines():
        if heading := re.match(r"#+ `([\w./]+/)`", line):
            folder = heading[1]
        elif line.startswith("#"):
            folder = ""
        elif folder and (names := re.match(r"- ((?:`[\w./]+`(?:, )?)+)", line)):
            found += [folder + name for name in re.findall(r"`([\w./]+)`", names[1])]
    return found


def sources(paths: Iterable[str]) -> set[str]:
    """The files that the page must list: an `__init__.py` is the face of its folder, not listed."""
    return {
        path
        for path in paths
        if path.startswith(FOLDERS) and path.endswith(SOURCES) and not path.endswith("/__init__.py")
    }


def test_the_page_is_true(project_files: dict[str, str]) -> None:
    names = listed(project_files["docs/structure.md"])
    assert len(names) == len(set(names)), "a file is listed twice"
    there = sources(project_files)
    assert sorted(there - set(names)) == [], "not listed"
    assert sorted(set(names) - set(project_files)) == [], "listed but missing"


def test_the_reader_of_the_page() -> None:
    page = "## `export/`: text\n- `a.py`, `b.h`: `c.py`\n## Other\n- `d.py`: no folder\n"
    assert listed(page) == ["export/a.py", "export/b.h"]
    assert sources(["export/__init__.py", "export/a.py", "tests/a.py", "export/a.md"]) == {
        "export/a.py"
    }
