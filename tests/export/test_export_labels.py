"""Labels of a diagnosis in a model directory: manifest, float32 rows, refusals."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from stepguard.errors import TaxonomyError
from stepguard.export import export_model
from stepguard.export.diagnosis import diagnosis_fields
from stepguard.guard import Guard
from stepguard.manifest import Manifest, load
from stepguard.prompt import Prompt, load_tokenizer
from stepguard.taxonomy import Fields, shipped
from tests.export.tiny import make_checkpoint

OWN = {
    "name": "own",
    "labels": [
        {"dimension": "risk_source", "id": name, "label": name.title(), "gist": "a gist"}
        for name in ("user", "agent")
    ],
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("tiny") / "guard", "llama", 1)


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    out = checkpoint.with_name("model")
    export_model(checkpoint, out, quant="int4", taxonomy="all")
    return out


def row_ids(folder: Path) -> Any:
    """The output rows that are stored in float32."""
    model = onnx.load(str(folder / "model.onnx"), load_external_data=True)
    (found,) = [t for t in model.graph.initializer if t.name == "read_out.row_ids"]
    return onnx.numpy_helper.to_array(found, base_dir=str(folder))


def test_the_manifest_says_what_is_read(exported: Path) -> None:
    manifest = load(exported)
    assert manifest.taxonomy == "all"
    assert Manifest.from_json(manifest.to_json()) == manifest
    fields = Fields.from_manifest("all", manifest.diagnosis)
    prompt = Prompt.from_manifest(manifest.prompt)
    tokenizer = load_tokenizer(exported / "tokenizer.json")
    assert diagnosis_fields(prompt, tokenizer, shipped("all")) == fields
    rows = sorted({*prompt.row_ids, *fields.rows})
    assert np.array_equal(row_ids(exported), rows)
    assert len(rows) > len(prompt.row_ids)


def test_without_labels_nothing_is_there(checkpoint: Path, tmp_path: Path) -> None:
    manifest = export_model(checkpoint, tmp_path / "model", quant="int4")
    assert (manifest.taxonomy, manifest.diagnosis) == (None, None)
    assert "diagnosis" not in json.loads((tmp_path / "model" / "manifest.json").read_text())
    prompt = Prompt.from_manifest(manifest.prompt)
    assert np.array_equal(row_ids(tmp_path / "model"), prompt.row_ids)


def test_prompts_that_ask_for_labels_get_them(exported: Path) -> None:
    manifest = load(exported)
    plain = Prompt.from_manifest(manifest.prompt)
    tokenizer = load_tokenizer(exported / "tokenizer.json")
    for answer, lines in (
        ("agentdog-1.0-finegrained", "agentdog-1.0"),
        ("agentdog-1.5-unified", "agentdog-1.5-unified"),
        ("agentdog-1.5-finegrained", "agentdog-1.5-finegrained"),
    ):
        prompt = dataclasses.replace(plain, answer=answer, official=True)
        fields = diagnosis_fields(prompt, tokenizer, None)
        assert fields is not None
        assert (fields.taxonomy, fields.lines) == ("base", lines)
        custom = dataclasses.replace(prompt, official=False)
        assert diagnosis_fields(custom, tokenizer, None) is None
    for answer in ("agentdog-1.0-binary", "agentdog-1.5-coarse", "word"):
        prompt = dataclasses.replace(plain, answer=answer, official=True)
        assert diagnosis_fields(prompt, tokenizer, None) is None


def test_labels_of_ones_own(checkpoint: Path, exported: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text(json.dumps(OWN))
    manifest = export_model(checkpoint, tmp_path / "model", quant="int4", taxonomy=file)
    assert manifest.taxonomy == "own"
    with Guard.load(tmp_path / "model", taxonomy=file, save_prefix=False) as guard:
        assert guard._reader.judge.needed_fields.rows
    with pytest.raises(TaxonomyError, match=r"got user: 'User'\. Export again with --taxonomy F"):
        Guard.load(exported, taxonomy=file)
    with pytest.raises(TaxonomyError, match=r"own\.json: labels\[0\]\.dimension"):
        file.write_text(json.dumps(OWN).replace("risk_source", "colour", 1))
        export_model(checkpoint, tmp_path / "other", quant="int4", taxonomy=file)
    assert not (tmp_path / "other").exists()


def test_fewer_labels_than_exported(exported: Path) -> None:
    with Guard.load(exported, taxonomy="base", save_prefix=False) as guard:
        fields = guard._reader.judge.needed_fields
    assert [len(field.entries) for field in fields.fields] == [8, 14, 10]


def test_a_damaged_entry_is_refused(exported: Path) -> None:
    value = load(exported).to_dict()
    value["diagnosis"]["fields"][0]["labels"][0]["path"] = []
    manifest = Manifest.from_dict(value)
    with pytest.raises(TaxonomyError, match=r"diagnosis\.fields\[0\]\.labels\[0\]\.path"):
        Fields.from_manifest("all", manifest.diagnosis)
