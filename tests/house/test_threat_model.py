"""docs/threat_model.md: every test that it names exists, and nothing holds without one."""

from __future__ import annotations

import re

PAGE = "docs/threat_model.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def missing(page: str, files: dict[str, str]) -> list[str]:
    """Tests that the page names and no file has."""
    return [
        f"{path}::{name}"
        for path, name in NAMED.findall(page)
        if not re.search(rf"^(async )?def {name}\(", files.get(path, ""), re.MULTILINE)
    ]


def unproved(page: str) -> list[str]:
    """What the last column of a table's rows leaves without a test."""
    rows = [line for line in page.splitlines() if line.startswith("| ") and "shown by" not in line]
    return [row for row in rows if not NAMED.search(re.split(r"(?<!\\)\|", row)[-2])]


def test_the_page_is_true(project_files: dict[str, str]) -> None:
    page = project_files[PAGE]
    assert missing(page, project_files) == []
    assert unproved(page) == []
    assert len(NAMED.findall(page)) == len(re.findall(r"`tests/", page)), "no plain file names"


def test_it_is_linked(project_files: dict[str, str]) -> None:
    assert f"]({PAGE})" in project_files["README.md"]


def test_the_reader_of_the_page() -> None:
    rows = ["| attempt | what | shown by |", "|---|---|---|"]
    page = "\n".join([*rows, "| a | b | `tests/a.py::test_b` |", "| c \\| d | e |"])
    files = {"tests/a.py": "async def test_b() -> None:\n"}
    assert missing(page, files) == []
    assert missing(page, {"tests/a.py": "def test_bc() -> None:"}) == ["tests/a.py::test_b"]
    assert unproved(page) == ["| c \\| d | e |"]
