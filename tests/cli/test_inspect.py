"""stepguard inspect."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stepguard.integrity import Identity
from stepguard.known_files import KnownFiles
from stepguard.manifest import FILE, Manifest
from stepguard.private_files import cache_folder
from tests.cli.ran import Ran
from tests.front.fakes import make_prompt
from tests.front.manifests import sample

Run = Callable[..., Ran]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model directory with files that no engine would take, but that the manifest describes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    folder.mkdir()
    value = {**sample(), "prompt": make_prompt().to_manifest()}
    for name in value["files"]:
        (folder / name).write_bytes(name.encode())
        digest = hashlib.sha256(name.encode()).hexdigest()
        value["files"][name] = {"sha256": digest, "bytes": len(name)}
    (folder / FILE).write_text(Manifest.from_dict(value).to_json())
    return folder


def test_people_see_what_is_there(run: Run, model: Path) -> None:
    ran = run("inspect", model)
    assert (ran.status, ran.err) == (0, "")
    prompt = make_prompt()
    for text in (
        "llama: 2 layers",
        "6 int4, 2 int8 (asked for: auto)",
        "apache-2.0 LICENSE",
        "gguf weights.gguf, revision not stated, with adapter lora",
        hashlib.sha256(b"weights.bin").hexdigest(),
        f"short (not an official one), {prompt.sha256}",
        "'safe'",
        ", ".join(map(str, prompt.row_ids)),
    ):
        assert text in ran.out


def test_json(run: Run, model: Path) -> None:
    value = json.loads(run("inspect", model, "--json").out)
    manifest = json.loads((model / FILE).read_text())
    assert value == {
        "path": str(model),
        "sha256": Manifest.from_dict(manifest).sha256,
        "bytes": sum(entry["bytes"] for entry in manifest["files"].values()),
        "verified": True,
        "manifest": manifest,
    }


def test_a_changed_file(run: Run, model: Path) -> None:
    (model / "weights.bin").write_bytes(b"weights_bin")
    ran = run("inspect", model)
    assert ran.status == 1
    assert ran.out == ""
    assert "ModelTamperedError" in ran.err
    assert "weights.bin" in ran.err


def test_it_believes_no_list(run: Run, model: Path) -> None:
    weights = model / "weights.bin"
    digest = hashlib.sha256(b"weights.bin").hexdigest()
    weights.write_bytes(b"weights_bin")
    os.utime(weights, (1, 1))
    KnownFiles(cache_folder()).add(str(Identity.of(weights.stat())), digest)
    assert run("inspect", model).status == 1


def test_a_folder_that_is_none(run: Run, tmp_path: Path) -> None:
    ran = run("inspect", tmp_path)
    assert ran.status == 1
    assert "stepguard export" in ran.err
