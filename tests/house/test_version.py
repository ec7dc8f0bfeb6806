"""One version: pyproject.toml, the head of CHANGELOG.md and `stepguard.__version__`."""

from __future__ import annotations

import re
import tomllib

import pytest


def changelog_head(text: str) -> str:
    """The version of the first section: "## 0.1.0 (unreleased)" -> "0.1.0"."""
    head = re.search(r"^## (\d+\.\d+\.\d+)\b", text, re.MULTILINE)
    assert head, "CHANGELOG.md has no section"
    return head[1]


def test_the_changelog_begins_with_this_version(project_files: dict[str, str]) -> None:
    version = tomllib.loads(project_files["pyproject.toml"])["project"]["version"]
    assert changelog_head(project_files["CHANGELOG.md"]) == version


def test_the_package_says_this_version(project_files: dict[str, str]) -> None:
    stepguard = pytest.importorskip("stepguard")
    if stepguard.__version__ == "0+source":
        pytest.skip("stepguard is not installed")
    version = tomllib.loads(project_files["pyproject.toml"])["project"]["version"]
    assert stepguard.__version__ == version
