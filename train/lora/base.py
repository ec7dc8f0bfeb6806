"""The model that learns and how it is asked: transformers' weights, the exporter's prompt."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
from transformers import AutoModelForCausalLM

from stepguard.errors import TrainingError
from stepguard.export.asked import asked_of, shape_of
from stepguard.export.asking import Asking, check_asking, labels_of, template_text
from stepguard.export.checkpoint import Checkpoint, open_checkpoint
from stepguard.export.provenance import file_hash
from stepguard.export.tower import text_tower
from stepguard.prompt import Encoder
from stepguard.prompt.answers import FIRST_TOKEN, FORCED
from stepguard.taxonomy import Fields, LabelRows


@dataclass(frozen=True, eq=False)
class Base:
    """model: transformers' causal model, float32, frozen. sha256: of the weights. labels: what says
    safe and unsafe; fields: what a diagnosis reads behind the same question, None without."""

    name: str
    sha256: str
    model: Any
    encoder: Encoder
    labels: LabelRows
    fields: Fields | None

    @property
    def layers(self) -> int:
        """How many it has."""
        return len(self.model.model.layers)


def open_base(path: Path, **asking: Unpack[Asking]) -> Base:
    """Reads a checkpoint, a folder or a .gguf file, with the prompt that an export would give it.

    Raises:
        TrainingError: it has recurrent layers, or gives no verdict without writing.
        ExportError, ModelFormatError, PromptError, TokenizerError, TaxonomyError: as an export.
    """
    check_asking(asking)
    checkpoint = text_tower(open_checkpoint(path))
    with checkpoint.store:
        shape, labels = shape_of(checkpoint), labels_of(asking)
        if shape.delta is not None:
            raise TrainingError(
                path.name,
                expected="layers of attention",
                got=f"recurrent ones ({shape.architecture.name})",
                fix="Train it elsewhere with PEFT; `stepguard export --adapter` merges the result.",
            )
        template = template_text(checkpoint, asking)
        asked = asked_of(checkpoint, shape.vocabulary, template, labels, asking)
    modes = [mode for mode in (FIRST_TOKEN, FORCED) if mode in asked.prompt.modes]
    if not modes:
        expected, got = "a prompt whose verdict is read", ", ".join(asked.prompt.modes)
        raise TrainingError(path.name, expected=expected, got=got, fix="Choose another prompt.")
    prompt = asked.prompt.in_mode(modes[0])
    rows = [[spelling.path[0] for spelling in prompt.labels[name]] for name in ("safe", "unsafe")]
    return Base(
        name=path.name,
        sha256=_digest(checkpoint),
        model=_load(checkpoint),
        encoder=Encoder(prompt, asked.tokenizer),
        labels=LabelRows.of(*rows),
        fields=asked.fields,
    )


def _load(checkpoint: Checkpoint) -> Any:
    path = checkpoint.path
    place = {"gguf_file": path.name} if checkpoint.form == "gguf" else {}
    with _quiet():
        model = AutoModelForCausalLM.from_pretrained(
            str(checkpoint.folder), dtype=torch.float32, local_files_only=True, **place
        )
    model.requires_grad_(False)
    model.train(False)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars of transformers, some of which no setting of its own switches off."""
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):  # noqa: PTH123
        yield


def _digest(checkpoint: Checkpoint) -> str:
    if checkpoint.form == "gguf":
        return file_hash(checkpoint.path)
    files = sorted({info.file for info in checkpoint.store.tensors.values()})
    return hashlib.sha256("".join(map(file_hash, files)).encode()).hexdigest()
