"""A small default guard in place of the shipped one; pip is only watched."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stepguard.cli import default_make
from stepguard.default_guard import kept as kept_module
from tests.cli.default.small_default import PACKAGE, Small, make_small


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("small"))


@pytest.fixture
def small(made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """A copy for one test, kept in place of the shipped one; the package is not there."""
    site, kept = tmp_path / "site", tmp_path / "kept"
    shutil.copytree(made.site, site)
    shutil.copytree(made.kept, kept)
    monkeypatch.setattr(kept_module, "KEPT", kept)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return Small(site, kept, site / PACKAGE / made.weights.name)


@pytest.fixture
def package(small: Small, monkeypatch: pytest.MonkeyPatch) -> Small:
    """The same, the package installed."""
    monkeypatch.syspath_prepend(str(small.site))
    return small


@pytest.fixture
def pip(small: Small, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What pip was called with; it "installs" the package."""
    commands: list[list[str]] = []

    def install(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        monkeypatch.syspath_prepend(str(small.site))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(default_make.subprocess, "run", install)
    return commands
