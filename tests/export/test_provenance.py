"""Licence, revision and source: copied, recorded, or "not stated" with a warning."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest

from stepguard.export.checkpoint import open_checkpoint
from stepguard.export.provenance import licence_of, names_of, origin_of
from tests.export.gguf_files import write_gguf
from tests.export.tiny import make_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint where a hub cache would put it."""
    return make_checkpoint(tmp_path / "models--org--my--guard" / "snapshots" / "abc123", "llama")


def test_nothing_stated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened = open_checkpoint(make_checkpoint(tmp_path / "guard", "llama"))
    with caplog.at_level(logging.WARNING, "stepguard.export"):
        licence, origin = licence_of(opened, None), origin_of(opened, None, None)
    assert (licence.name, licence.files) == ("not stated", {})
    assert (origin["source"], origin["revision"]) == ("guard", "not stated")
    assert "states no licence" in caplog.text
    assert "revision is not stated" in caplog.text


def test_a_hub_snapshot(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ("org/my--guard", "abc123")
    link = tmp_path / "link"
    link.symlink_to(folder)
    monkeypatch.chdir(folder.parent)
    for path in (folder, link, Path("abc123")):
        origin = origin_of(open_checkpoint(path), None, None)
        assert (origin["source"], origin["revision"]) == expected
    assert "org/my--guard" in names_of(open_checkpoint(link))


def test_a_gguf_file_of_a_hub_snapshot(folder: Path, tmp_path: Path) -> None:
    blob = write_gguf(tmp_path / "blob.gguf", folder)
    (folder / "guard.gguf").symlink_to(blob)
    origin = origin_of(open_checkpoint(folder / "guard.gguf"), None, None)
    assert (origin["source"], origin["revision"]) == ("org/my--guard/guard.gguf", "abc123")
    assert origin["sha256"] == hashlib.sha256(blob.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("card", "name"),
    [
        ("---\nlicense: apache-2.0\ntags: [a]\n---\nText", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: 'llama3.1'\n---\n", "llama3.1"),
        ("license: mit\n", "not stated"),
        ("---\ntags:\n- license: mit\n---\n", "not stated"),
    ],
)
def test_the_model_card(folder: Path, card: str, name: str) -> None:
    (folder / "README.md").write_text(card)
    assert licence_of(open_checkpoint(folder), None).name == name


def test_files_that_go_along(folder: Path, tmp_path: Path) -> None:
    names = ["LICENSE", "LICENCE.md", "Notice.txt", "USE_POLICY.md", "gpl-license.txt"]
    for name in [*names, "README.md", "licensing.py.bak", "model-license.json"]:
        (folder / name).write_text(name)
    (folder / "license-folder").mkdir()
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "LICENSE").write_text("adapter")
    files = licence_of(open_checkpoint(folder), adapter).files
    assert sorted(files) == sorted([*names, "adapter-LICENSE"])
    assert files["adapter-LICENSE"].read_text() == "adapter"
