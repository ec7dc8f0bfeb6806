"""From a checkpoint to a model directory."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from stepguard._version import __version__
from stepguard.errors import ExportError
from stepguard.manifest import FILE, FORMAT, FORMAT_VERSION, Manifest
from stepguard.prompt import Prompt
from stepguard.taxonomy import Fields

from ._need import need
from .arena import check_arena_order, check_graph
from .asked import asked_of, shape_of
from .asking import Asking, files_of, labels_of, template_text
from .checkpoint import Checkpoint, open_checkpoint
from .directory import check_apart, check_free, check_space, new_directory
from .formats import QUANTS
from .graph import WEIGHTS, build_model
from .lora import check_fits, read_adapter
from .plan import Plan, make_plan
from .provenance import file_hash, licence_of, origin_of
from .quantise import SEARCH
from .source import Source
from .stream import offsets_of, write_weights
from .tower import text_name, text_tower

Progress = Callable[[str, int, int], None]
MODEL, TOKENIZER = "model.onnx", "tokenizer.json"

log = logging.getLogger("stepguard.export")


@dataclass(frozen=True)
class _Request:
    """What was asked for beside the checkpoint and the place."""

    quant: str
    adapter: Path | None
    origin: dict[str, Any] | None


@dataclass(frozen=True)
class _Meter:
    """Counts bytes for a progress callback."""

    report: Progress | None
    total: int
    done: list[int]

    def __call__(self, what: str, count: int) -> None:
        self.done[0] += count
        if self.report is not None:
            self.report(what, self.done[0], self.total)


def export_model(
    checkpoint: Path | str,
    out: Path | str,
    *,
    quant: str = "auto",
    adapter: Path | str | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    **asking: Unpack[Asking],
) -> Manifest:
    """Exports `checkpoint` (a Hugging Face folder or a .gguf file) to the new folder `out`.

    Args:
        checkpoint: a folder with config.json, safetensors and tokenizer.json, or a .gguf file.
        out: the model directory; it appears only when it is complete.
        quant: auto, float32, int8 or int4; `stepguard.export.formats` says what becomes of which
            stored type.
        adapter: a folder with a PEFT LoRA that is merged into the weights.
        progress: called with (what is at work, bytes done, bytes in all).
        overwrite: replace a model directory that is there, in one step at the end.
        asking: how the guard is asked, see `Asking`: `prompt`, `template` ...

    Raises:
        ExportError: not a checkpoint that can be exported, or a place that cannot be written.
        ModelFormatError: damaged or incomplete files.
        PromptError, TokenizerError: a prompt or tokenizer that is not supported.
        TaxonomyError: a taxonomy file with a mistake, or labels that this tokenizer cannot tell
            apart or cannot write.
    """
    sources = [Path(source) for source in (checkpoint, adapter) if source]
    check_apart(Path(out), sources + files_of(asking))
    _check_request(Path(out), quant, overwrite)
    return export_checkpoint(
        text_tower(open_checkpoint(Path(checkpoint))),
        out,
        quant=quant,
        adapter=adapter,
        progress=progress,
        overwrite=overwrite,
        **asking,
    )


def export_checkpoint(
    checkpoint: Checkpoint,
    out: Path | str,
    *,
    quant: str = "auto",
    adapter: Path | str | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    origin: dict[str, Any] | None = None,
    **asking: Unpack[Asking],
) -> Manifest:
    """`export_model` of a text-only checkpoint that is open already, whatever its tensors are.

    `origin` is the manifest's object of that name, where the checkpoint's place does not tell it.
    Raises what `export_model` raises.
    """
    _check_request(Path(out), quant, overwrite)
    request = _Request(quant, Path(adapter) if adapter else None, origin)
    labels = labels_of(asking)
    with checkpoint.store:
        text = template_text(checkpoint, asking)
        tensors = _source(checkpoint, request)
        asked = asked_of(checkpoint, tensors.shape.vocabulary, text, labels, asking)
        built, fields = asked.prompt, asked.fields
        rows = tuple(sorted({*built.row_ids, *(fields.rows if fields else ())}))
        plan = make_plan(tensors, rows, writes="rationale" in built.modes)
        with new_directory(Path(out), overwrite) as work:
            return _write(work, tensors, plan, asked.text, built, fields, request, progress)


def _check_request(out: Path, quant: str, overwrite: bool) -> None:
    """Refuses now what would be refused after the weights are written."""
    if quant not in QUANTS:
        raise ExportError("quant", expected=f"one of {', '.join(QUANTS)}", got=repr(quant))
    check_free(out.absolute(), overwrite)
    for package in ("onnx", "jinja2"):
        need(package)


def _write(
    work: Path,
    source: Source,
    plan: Plan,
    tokenizer: str,
    prompt: Prompt,
    fields: Fields | None,
    request: _Request,
    progress: Progress | None,
) -> Manifest:
    checkpoint = source.checkpoint
    offsets, total = offsets_of(plan.items)
    check_space(work, total)
    hashed = checkpoint.path.stat().st_size if checkpoint.form == "gguf" else 0
    meter = _Meter(progress, total + hashed, [0])
    origin = request.origin or origin_of(checkpoint, request.adapter, meter)
    licence = licence_of(checkpoint, request.adapter)
    _write_graph(work / MODEL, plan, offsets)
    (work / TOKENIZER).write_text(tokenizer, encoding="utf-8")
    for name, file in licence.files.items():
        shutil.copyfile(file, work / name)
    digest, count = write_weights(work / WEIGHTS, plan.items, meter)
    need("onnx").checker.check_model(str(work / MODEL))
    files: dict[str, Any] = {WEIGHTS: {"sha256": digest, "bytes": count}}
    files |= _entries(work, [MODEL, TOKENIZER, *licence.files])
    manifest = Manifest.from_dict(
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "stepguard_version": __version__,
            "architecture": source.shape.to_manifest(),
            "quantisation": _quantisation(plan, request.quant),
            "prompt": prompt.to_manifest(),
            "taxonomy": fields.taxonomy if fields else None,
            **({"diagnosis": fields.to_manifest()} if fields else {}),
            "calibration": [],
            "heads": {},
            "licence": {"name": licence.name, "files": list(licence.files)},
            "origin": origin,
            "files": files,
        }
    )
    (work / FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _source(checkpoint: Checkpoint, request: _Request) -> Source:
    adapter = read_adapter(request.adapter) if request.adapter else {}
    deltas = {text_name(name): delta for name, delta in adapter.items()}
    source = Source(checkpoint, shape_of(checkpoint), request.quant, deltas)
    source.check_tensors()
    check_fits(deltas, source.matrix_shapes())
    if deltas:
        log.info("%d matrices are merged with the adapter", len(deltas))
    return source


def _write_graph(path: Path, plan: Plan, offsets: Mapping[str, int]) -> None:
    model = build_model(plan, offsets)
    check_graph(model)
    check_arena_order(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _quantisation(plan: Plan, requested: str) -> dict[str, Any]:
    plain = set(plan.linear) == {"float32"}
    return {
        "requested": requested,
        "linear": dict(plan.linear),
        "table": plan.table,
        "search": SEARCH if plan.linear["int4"] else "none",
        "kv": "fp32" if plain else "fp16",
    }


def _entries(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    return {
        name: {"sha256": file_hash(folder / name), "bytes": (folder / name).stat().st_size}
        for name in names
    }
