"""What is taken for a checkpoint, and the command that helps with what is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stepguard.errors import ExportError, ModelFormatError
from stepguard.export.checkpoint import open_checkpoint
from tests.export.tiny import make_checkpoint


def test_sharded_and_linked_like_a_hub_cache(tmp_path: Path) -> None:
    plain = make_checkpoint(tmp_path / "plain", "llama", 1, shard="60KB")
    assert len(list(plain.glob("*.safetensors"))) > 2
    snapshot = tmp_path / "models--org--guard" / "snapshots" / "abc123"
    blobs = tmp_path / "models--org--guard" / "blobs"
    for folder in (snapshot, blobs):
        folder.mkdir(parents=True)
    for place, file in enumerate(sorted(plain.iterdir())):
        file.rename(blobs / str(place))
        (snapshot / file.name).symlink_to(f"../../blobs/{place}")
    with open_checkpoint(snapshot).store as store:
        assert store.rows("model.embed_tokens.weight", 3, 5).shape == (2, 72)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["pytorch_model.bin", "config.json"], r"python -c .*save_pretrained"),
        (["adapter_config.json", "adapter_model.safetensors"], r"export BASE OUT --adapter "),
        (["a.gguf"], r"got a.gguf. Give the .gguf file itself"),
        (["config.json"], r"got neither. Fetch the whole checkpoint"),
        (["a.safetensors", "b.safetensors"], r"got 2 .safetensors files without their index"),
        (["a.safetensors"], r"got a.safetensors. Fetch the whole checkpoint"),
    ],
)
def test_other_folders_name_the_command(tmp_path: Path, files: list[str], message: str) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(ExportError, match=message):
        open_checkpoint(tmp_path)


def test_a_model_directory_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format": "stepguard-model"}')
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(ExportError, match=r"got a model directory. It is exported already"):
        open_checkpoint(tmp_path)


def test_a_repository_of_a_hub_cache_names_its_snapshot(tmp_path: Path) -> None:
    for place, revision in enumerate(("fff", "abc")):
        snapshot = tmp_path / "snapshots" / revision
        snapshot.mkdir(parents=True)
        os.utime(snapshot, (place, place))
    with pytest.raises(ExportError, match=r"got a hub cache. Give the snapshot: .*snapshots/abc$"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_links_to_nothing(tmp_path: Path, name: str) -> None:
    folder = make_checkpoint(tmp_path, "llama")
    (folder / "picture.png").symlink_to("blobs/none")  # no matter for an export
    open_checkpoint(folder).store.close()
    (folder / name).unlink()
    (folder / name).symlink_to("blobs/none")
    with pytest.raises(ExportError, match=f"links to nothing: {name}. The download is incomplete"):
        open_checkpoint(folder)


def test_no_config(tmp_path: Path) -> None:
    (make_checkpoint(tmp_path, "llama") / "config.json").unlink()
    with pytest.raises(ExportError, match=r"expected config.json, got none"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_config(tmp_path: Path, text: str) -> None:
    (make_checkpoint(tmp_path, "llama") / "config.json").write_text(text)
    with pytest.raises(ModelFormatError, match=r"config.json: expected (JSON|an object)"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["absent", "model.pt"])
def test_other_paths(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(ExportError, match="expected a"):
        open_checkpoint(tmp_path / name)
