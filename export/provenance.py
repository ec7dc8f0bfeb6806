"""Where a checkpoint comes from and under which licence: names, files and revision."""

from __future__ import annotations

import fnmatch
import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint

NOT_STATED = "not stated"
_PATTERNS = ("license*", "licence*", "notice*", "use_policy*", "*license*.txt", "*licence*.txt")
_LIMIT = 1 << 20  # a licence text is small; what is larger is something else
_SNAPSHOT = re.compile(r"(?:^|/)models--([^/]+)/snapshots/([^/]+)(?:/|$)")

log = logging.getLogger("stepguard.export")


@dataclass(frozen=True)
class Licence:
    """`files` maps the name in the model directory to the file that is copied."""

    name: str
    files: dict[str, Path]


def licence_of(checkpoint: Checkpoint, adapter: Path | None) -> Licence:
    """The licence's name and the files that must go along; warns when no name is stated."""
    name = _licence_name(checkpoint)
    if name is None:
        log.warning("the checkpoint states no licence; find out before you pass the model on")
    files = {path.name: path for path in _licence_files(checkpoint.folder)}
    if adapter is not None:
        files |= {f"adapter-{path.name}": path for path in _licence_files(adapter)}
    return Licence(name or NOT_STATED, dict(sorted(files.items())))


def licence_of_folder(folder: Path) -> Licence:
    """The same of a folder that is no checkpoint of ours: its model card and licence files."""
    card = _front_matter(folder / "README.md")
    name = card.get("license_name") or card.get("license") or NOT_STATED
    if name == NOT_STATED:
        log.warning("the checkpoint states no licence; find out before you pass the screen on")
    return Licence(name, {path.name: path for path in _licence_files(folder)})


def origin_of(
    checkpoint: Checkpoint, adapter: Path | None, progress: Callable[[str, int], None] | None
) -> dict[str, Any]:
    """The `origin` object of the manifest; a GGUF file is hashed."""
    source, revision = place_of(checkpoint.path)
    if revision is None:
        log.warning("the checkpoint's revision is not stated: its path is not a hub snapshot")
    origin: dict[str, Any] = {
        "kind": checkpoint.form,
        "source": source,
        "revision": revision or NOT_STATED,
        "adapter": None,
    }
    if checkpoint.form == "gguf":
        origin["sha256"] = file_hash(checkpoint.path, progress)
    if adapter is not None:
        name, adapter_revision = place_of(adapter)
        digest = file_hash(adapter / "adapter_model.safetensors", progress)
        revision = adapter_revision or NOT_STATED
        origin["adapter"] = {"source": name, "revision": revision, "sha256": digest}
    return origin


def file_hash(path: Path, progress: Callable[[str, int], None] | None = None) -> str:
    """sha256 of a file, read in blocks."""
    digest, block = hashlib.sha256(), bytearray(1 << 20)
    with path.open("rb") as file:
        while count := file.readinto(block):
            digest.update(memoryview(block)[:count])
            if progress is not None:
                progress(path.name, count)
    return digest.hexdigest()


def names_of(checkpoint: Checkpoint) -> list[str]:
    """Every name under which a checkpoint may be known, for recognising it."""
    config = checkpoint.config
    keys = ("_name_or_path", "general.name", "general.basename", "general.finetune")
    named = [str(config[key]) for key in keys if key in config]
    # Links are not followed: a cache names its blobs by hash, and the link carries the name.
    path = checkpoint.path.absolute()
    return [*named, path.name, place_of(path)[0]]


def place_of(path: Path) -> tuple[str, str | None]:
    """(name, revision) of a hub cache's snapshot; of any other path its last part and None."""
    absolute = path.absolute()
    # A file of a snapshot is a link to a blob, so only the folders above it are followed.
    for place in (absolute, absolute.parent.resolve() / absolute.name, absolute.resolve()):
        found = _SNAPSHOT.search(place.as_posix())
        if found is not None:
            name = found[1].replace("--", "/", 1)
            return (name if place.name == found[2] else f"{name}/{place.name}"), found[2]
    return absolute.name, None


def _licence_name(checkpoint: Checkpoint) -> str | None:
    config = checkpoint.config
    card = _front_matter(checkpoint.folder / "README.md")
    for stated in (
        config.get("general.license.name"),
        config.get("general.license"),
        card.get("license_name"),
        card.get("license"),
        config.get("license"),
    ):
        if isinstance(stated, str) and stated.strip():
            return stated.strip()
    return None


def _front_matter(path: Path) -> dict[str, str]:
    """The plain `key: value` lines between the leading --- lines of a model card."""
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")[: 1 << 16]
    found = re.match(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", text, re.DOTALL)
    pairs = re.findall(r"^([A-Za-z_]+):[ \t]*(.+?)\s*$", found[1] if found else "", re.MULTILINE)
    return {key: value.strip("'\"") for key, value in pairs}


def _licence_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if any(fnmatch.fnmatchcase(path.name.lower(), pattern) for pattern in _PATTERNS)
        and path.is_file()
        and path.stat().st_size <= _LIMIT
    )
