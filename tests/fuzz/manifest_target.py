"""manifest.json, and the prompt in it."""

from __future__ import annotations

import json

from stepguard.errors import ModelFormatError, PromptError, TaxonomyError
from stepguard.manifest import Manifest
from stepguard.prompt import Prompt
from stepguard.taxonomy import Fields
from tests.front.diagnosable import fields
from tests.front.manifests import sample
from tests.fuzz.mutate import mutate_json
from tests.fuzz.prompt_target import built
from tests.fuzz.target import Target


def run(data: bytes) -> None:
    manifest = Manifest.from_json(data)
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert len(manifest.sha256) == 64
    if manifest.diagnosis is not None:
        fields = Fields.from_manifest("t", manifest.diagnosis)
        assert Fields.from_manifest("t", fields.to_manifest()) == fields
        assert fields.rows
    prompt = Prompt.from_manifest(manifest.prompt)
    assert Prompt.from_manifest(prompt.to_manifest()) == prompt


def seeds() -> list[bytes]:
    whole = {**sample(), "prompt": built("short").to_manifest()}
    delta = dict.fromkeys(("layers", "k_heads", "v_heads", "k_dim", "v_dim", "conv_width"), 2)
    hybrid = {**whole, "architecture": {**whole["architecture"], "delta": delta}}
    labels = {**whole, "taxonomy": "test", "diagnosis": fields().to_manifest()}
    return [json.dumps(value).encode() for value in (sample(), whole, hybrid, labels)]


TARGET = Target(
    "manifest",
    run,
    seeds,
    (ModelFormatError, PromptError, TaxonomyError),
    mutate_json,
    (
        b'"format_version":',
        b'"files":{',
        b'"rope_scaling":null',
        b"null",
        b"1e999",
        b"\\ud800",
        b"{}",
    ),
)
