"""The pages for people: their links lead somewhere, their commands and names exist."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from posixpath import normpath

from stepguard import errors, taxonomy

PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/")


def pages(files: dict[str, str]) -> dict[str, str]:
    return {name: files[name] for name in files if name.startswith(PAGES) and name[-3:] == ".md"}


def test_links_lead_to_files(project_files: dict[str, str]) -> None:
    broken = []
    for name, text in pages(project_files).items():
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            target = normpath(str(PurePosixPath(name).parent / link))
            if target not in project_files and not any(f.startswith(target) for f in project_files):
                broken.append(f"{name}: {link}")
    assert broken == []


def test_make_targets_exist(project_files: dict[str, str]) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", project_files["Makefile"], re.MULTILINE))
    for name, text in pages(project_files).items():
        named = set(re.findall(r"(?:^|`)(?:    )?make ([a-z][\w-]*)", text, re.MULTILINE))
        assert named <= targets, name


def test_every_error_and_reason_is_explained(project_files: dict[str, str]) -> None:
    explained = re.findall(r"^\| `(\w+)`", project_files["docs/errors.md"], re.MULTILINE)
    names = {*errors.__all__, *(str(reason) for reason in taxonomy.Reason)} - {"StepguardError"}
    assert sorted(explained) == sorted(names)
