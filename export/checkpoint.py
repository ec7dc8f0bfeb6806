"""Opens a checkpoint: a folder with safetensors or a .gguf file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stepguard.errors import ExportError, ModelFormatError

from .directory import is_model
from .gguf_header import read_gguf_header
from .safetensors_header import read_index, read_safetensors
from .tensors import TensorInfo, TensorStore

_INDEX = "model.safetensors.index.json"
_READ = (".json", ".safetensors", ".jinja")  # endings of what an export reads


@dataclass(frozen=True)
class Checkpoint:
    """`config` is config.json, or the metadata of a GGUF file; `path` is kept as it was given."""

    form: Literal["safetensors", "gguf"]
    path: Path
    config: dict[str, Any]
    store: TensorStore

    @property
    def folder(self) -> Path:
        """Where the files beside the weights lie."""
        return self.path if self.form == "safetensors" else self.path.parent


def open_checkpoint(path: Path) -> Checkpoint:
    """Reads the headers of a checkpoint.

    Raises ModelFormatError for damaged files and ExportError for what is not a checkpoint that
    can be exported, with the command that helps.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise ExportError(str(path), expected="a checkpoint folder or .gguf file", got="nothing")
    if path.suffix == ".gguf":
        return _open_gguf(path)
    raise ExportError(
        str(path),
        expected="a folder with config.json and *.safetensors, or a .gguf file",
        got=f"a {path.suffix or 'nameless'} file",
        fix="Give the folder that holds the checkpoint",
    )


def _open_gguf(path: Path) -> Checkpoint:
    metadata, tensors = read_gguf_header(path)
    parts = metadata.get("split.count", 0)
    if not isinstance(parts, int):
        raise ModelFormatError(f"split.count in {path.name}", expected="a number", got=repr(parts))
    if parts > 1:
        raise ExportError(
            path.name,
            expected="one file",
            got=f"a split of {parts}",
            fix=f"Run: llama-gguf-split --merge {path.name} merged.gguf",
        )
    return Checkpoint("gguf", path, metadata, TensorStore(tensors))


def _open_folder(folder: Path) -> Checkpoint:
    _check_links(folder)
    tensors = _weights(folder)
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except FileNotFoundError as error:
        raise ExportError(
            str(folder), expected="config.json", got="none", fix="Fetch the whole checkpoint"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelFormatError("config.json", expected="JSON", got=str(error)) from error
    if not isinstance(config, dict):
        raise ModelFormatError("config.json", expected="an object", got=type(config).__name__)
    return Checkpoint("safetensors", folder, config, TensorStore(tensors))


def _check_links(folder: Path) -> None:
    """A hub cache links to its blobs; after a broken download some of them are not there."""
    links = [path for path in folder.iterdir() if path.is_symlink() and not path.exists()]
    lost = sorted(path.name for path in links if path.suffix in _READ)
    if lost:
        raise ExportError(
            str(folder),
            expected="links to files",
            got=f"links to nothing: {', '.join(lost[:8])}",
            fix="The download is incomplete; fetch the checkpoint again",
        )


def _weights(folder: Path) -> dict[str, TensorInfo]:
    single, index = folder / "model.safetensors", folder / _INDEX
    if single.is_file():
        return read_safetensors(single)
    if index.is_file():
        return read_index(folder, index)
    got, fix = _instead(folder)
    raise ExportError(
        str(folder), expected=f"a checkpoint, with model.safetensors or {_INDEX}", got=got, fix=fix
    )


def _instead(folder: Path) -> tuple[str, str]:
    """(what a folder without weights is, what helps)."""
    if is_model(folder):
        return "a model directory", "It is exported already; give the checkpoint to export it again"
    if (folder / "adapter_config.json").is_file():
        return "an adapter", f"Run: stepguard export BASE OUT --adapter {folder}"
    if snapshots := _snapshots(folder):
        return "a hub cache", f"Give the snapshot: {snapshots[-1]}"
    if any(folder.glob("*.bin")):
        return "pickled .bin weights, which can run code when they are read", _unpickle(folder)
    names = sorted(path.name for path in folder.glob("*.gguf"))
    if names:
        return ", ".join(names), "Give the .gguf file itself"
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    if len(shards) > 1:
        return f"{len(shards)} .safetensors files without their index", f"Fetch {_INDEX} too"
    return ", ".join(shards) or "neither", "Fetch the whole checkpoint"


def _snapshots(folder: Path) -> list[Path]:
    """The snapshots of a repository in a hub cache, the newest last."""
    places = [path for path in folder.glob("snapshots/*") if path.is_dir()]
    return sorted(places, key=lambda path: path.stat().st_mtime)


def _unpickle(folder: Path) -> str:
    code = (
        "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; "
        f"d = {str(folder)!r}; o = d.rstrip('/') + '-safetensors'; "
        "M.from_pretrained(d, dtype='auto').save_pretrained(o); "
        "T.from_pretrained(d).save_pretrained(o)"
    )
    return f'Convert once, if you trust the file: python -c "{code}"'
