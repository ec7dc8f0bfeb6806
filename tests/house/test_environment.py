"""docs/environment.md lists every environment variable and build option, and no other."""

from __future__ import annotations

import re

CODE = ("src/", "export/", "runtime/", "cpp_kernels/", "taxonomy/", "bench/", "train/")
READ = re.compile(r"""(?:getenv\(|setenv\(|environ(?:\.\w+\(|\[))\s*["']([A-Z][A-Z0-9_]+)["']""")
QUOTED = re.compile(r"""["']((?:STEPGUARD|ORT|XDG)_[A-Z0-9_]+)["'=]""")


def used(files: dict[str, str]) -> set[str]:
    """Every variable that the code reads or sets, and every option that the build offers."""
    names: set[str] = set()
    for path, text in files.items():
        if path.startswith(CODE) and path.endswith((".py", ".cc", ".h")):
            names |= {*READ.findall(text), *QUOTED.findall(text)}
        elif path.endswith("CMakeLists.txt"):
            names |= set(re.findall(r"option\(\s*(STEPGUARD_[A-Z0-9_]+)", text))
    return names


def listed(page: str) -> set[str]:
    return set(re.findall(r"^\| `([A-Z0-9_]+)", page, re.MULTILINE))


def test_the_page_is_true(project_files: dict[str, str]) -> None:
    page = listed(project_files["docs/environment.md"])
    there = used(project_files)
    assert sorted(there - page) == [], "not listed"
    assert sorted(page - there) == [], "listed but unused"


def test_the_reader_of_the_sources() -> None:
    files = {
        "runtime/core/a.cc": 'setenv("ORT_A", "1", 0); std::getenv("B_C");',
        "src/stepguard/a.py": "os.environ.get('D_1'); os.environ[\"E_2\"]; NAME = 'STEPGUARD_F'",
        "CMakeLists.txt": 'option(STEPGUARD_G "text" OFF)',
        "tests/a.py": "os.environ['H']",
    }
    assert used(files) == {"ORT_A", "B_C", "D_1", "E_2", "STEPGUARD_F", "STEPGUARD_G"}
