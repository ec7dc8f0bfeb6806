"""A random checkpoint of a shape: a Hugging Face folder as a real one lies on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stepguard.bench.shapes.guards import GuardShape
from stepguard.bench.shapes.weights import RandomStore, Rounded
from stepguard.export.checkpoint import Checkpoint
from stepguard.export.directory import check_space, new_directory
from stepguard.export.source import Source
from stepguard.export.tensors import TensorInfo, TensorStore

Progress = Callable[[str, int, int], None]
SHARD_BYTES = 4 << 30
NOTE = "Random weights of the shape {name} (seed {seed}): for time and memory only."
_LICENCE = "cc0-1.0"
_BLOCK_BYTES = 8 << 20


def make_checkpoint(
    shape: GuardShape,
    out: Path | str,
    *,
    seed: int = 0,
    shard_bytes: int = SHARD_BYTES,
    store: TensorStore | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> int:
    """Writes a random bfloat16 checkpoint of `shape` to the new folder `out`; returns its bytes.

    Peak memory is a block of rows. `shard_bytes` is the most that one safetensors file holds.
    `store` holds other weights than those of the seed; they are rounded to bfloat16.

    Raises:
        ExportError: `out` exists and is not empty, or its disk is too small.
        StepguardError: the package with the vocabulary is not installed.
    """
    out = Path(out)
    with new_directory(out, overwrite, _is_random) as work:
        store = random_store(shape, work, seed) if store is None else Rounded(store)
        infos = [*_foreign(shape, work), *store.tensors.values()]
        total = sum(info.nbytes for info in infos)
        check_space(work, total)
        write_small_files(shape, work, seed)
        shards = list(_shards(infos, shard_bytes))
        done = 0
        for number, shard in enumerate(shards, start=1):
            name = _shard_name(number, len(shards))
            with (work / name).open("xb") as file:
                file.write(_header(shape, shard))
                for info in shard:
                    for block in _blocks(store, info):
                        file.write(block)
                        done += len(block)
                        if progress is not None:
                            progress(info.name, done, total)
        if len(shards) > 1:
            _write_index(shape, work, shards, total)
    return total


def checkpoint_bytes(shape: GuardShape) -> int:
    """Bytes of the weights of `make_checkpoint`, two for each."""
    place = Path(shape.name)
    infos = [*_foreign(shape, place), *random_store(shape, place, 0).tensors.values()]
    return sum(info.nbytes for info in infos)


def random_store(shape: GuardShape, place: Path, seed: int, **kinds: Any) -> RandomStore:
    """The tensors of a text-only checkpoint of `shape`, under its names."""
    numbers = shape.shape
    empty = Checkpoint("safetensors", place, shape.text, TensorStore({}))
    tensors = Source(empty, numbers, "float32").expected_tensors()
    return RandomStore(place, tensors, numbers, seed=seed, **kinds)


def write_small_files(shape: GuardShape, folder: Path, seed: int, text_only: bool = False) -> None:
    """config.json, tokenizer and a README that says what this is."""
    config = shape.text if text_only else dict(shape.config)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    shape.vocabulary().write(folder)
    note = NOTE.format(name=shape.name, seed=seed)
    card = f"---\nlicense: {_LICENCE}\n---\n{note}\nWhatever it answers means nothing.\n"
    (folder / "README.md").write_text(card, encoding="utf-8")


def _is_random(folder: Path) -> bool:
    """Whether a folder is one of these, which alone may be replaced."""
    try:
        return NOTE.partition("{")[0] in (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _foreign(shape: GuardShape, place: Path) -> list[TensorInfo]:
    """What a vision-language checkpoint holds beside the text tower, a tensor of each kind."""
    if not shape.sees:
        return []
    width = shape.config["vision_config"]["hidden_size"]
    sizes = {
        "model.visual.patch_embed.proj.bias": (width,),
        "mtp.norm.weight": (shape.text["hidden_size"],),
    }
    return [TensorInfo(n, s, "BF16", place, 0, 2 * s[0]) for n, s in sizes.items()]


def _shards(infos: list[TensorInfo], most: int) -> Iterator[list[TensorInfo]]:
    """Tensors in order, in groups of at most `most` bytes; a larger tensor stands alone."""
    group: list[TensorInfo] = []
    for info in infos:
        if group and sum(other.nbytes for other in group) + info.nbytes > most:
            yield group
            group = []
        group.append(info)
    yield group


def _shard_name(number: int, count: int) -> str:
    return "model.safetensors" if count == 1 else f"model-{number:05}-of-{count:05}.safetensors"


def _written_name(shape: GuardShape, name: str) -> str:
    """The name of a tensor of the text tower in the checkpoint."""
    if not shape.sees or not name.startswith("model.") or name.startswith("model.visual."):
        return name
    return "model.language_model." + name.removeprefix("model.")


def _header(shape: GuardShape, shard: list[TensorInfo]) -> bytes:
    """The length of the JSON header, and the header, padded to 8 bytes as the format wants it."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for info in shard:
        header[_written_name(shape, info.name)] = {
            "dtype": info.kind,
            "shape": list(info.shape),
            "data_offsets": [position, position + info.nbytes],
        }
        position += info.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _blocks(store: TensorStore, info: TensorInfo) -> Iterator[bytes]:
    if info.name not in store.tensors:
        yield bytes(info.nbytes)
        return
    step = max(1, _BLOCK_BYTES // info.row_bytes)
    for begin in range(0, info.shape[0], step):
        yield store.raw(info.name, begin, min(begin + step, info.shape[0])).tobytes()


def _write_index(
    shape: GuardShape, folder: Path, shards: list[list[TensorInfo]], total: int
) -> None:
    places = {
        _written_name(shape, info.name): _shard_name(number, len(shards))
        for number, shard in enumerate(shards, start=1)
        for info in shard
    }
    index = {"metadata": {"total_size": total}, "weight_map": places}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(index, indent=2), encoding="utf-8")
