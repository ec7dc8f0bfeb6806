"""pytest imports every test file by its name alone, so no two may share one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath


def shared_names(paths: Iterable[str]) -> dict[str, list[str]]:
    """Name of a test file -> its paths, where there is more than one."""
    found: dict[str, list[str]] = {}
    for path in map(PurePosixPath, paths):
        if path.parts[0] == "tests" and path.name.startswith("test_") and path.suffix == ".py":
            found.setdefault(path.name, []).append(str(path))
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def test_no_two_test_files_share_a_name(project_files: dict[str, str]) -> None:
    assert shared_names(project_files) == {}


def test_a_shared_name_is_found() -> None:
    paths = ["tests/a/test_x.py", "tests/b/test_x.py", "tests/b/test_y.py", "bench/test_x.py"]
    assert shared_names(paths) == {"test_x.py": ["tests/a/test_x.py", "tests/b/test_x.py"]}
