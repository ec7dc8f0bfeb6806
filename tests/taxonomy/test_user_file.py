"""Taxonomy files: what they add, and every mistake by its place."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from stepguard.errors import TaxonomyError
from stepguard.taxonomy import Dimension, read_taxonomy, shipped, taxonomy_of

OWN: dict[str, Any] = {
    "name": "acme",
    "extends": "base",
    "labels": [
        {
            "dimension": "real_world_harm",
            "id": "brand_harm",
            "label": "Brand Harm",
            "gist": "Customers see what they should not.",
            "aliases": ["Harm to the Brand"],
        },
        {"dimension": "risk_source", "id": "vendor", "label": "Vendor", "gist": "A vendor did."},
    ],
}


def written(folder: Path, value: object) -> Path:
    path = folder / "own.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
    return path


def test_own_labels_come_after_those_they_extend(tmp_path: Path) -> None:
    taxonomy = read_taxonomy(written(tmp_path, OWN))
    assert taxonomy.name == "acme"
    assert taxonomy.labels[:32] == shipped("base").labels
    found = taxonomy.find(Dimension.REAL_WORLD_HARM, "harm to the brand")
    assert found is not None
    assert (found.id, found.setting) == ("brand_harm", "own")
    alone = {**OWN, "extends": None}
    assert len(read_taxonomy(written(tmp_path, alone)).labels) == 2


def test_names_files_and_objects(tmp_path: Path) -> None:
    path = written(tmp_path, OWN)
    assert taxonomy_of("codex") == shipped("codex")
    assert taxonomy_of(str(path)) == taxonomy_of(path) == read_taxonomy(path)
    assert taxonomy_of(shipped("base")) == shipped("base")
    with pytest.raises(TaxonomyError, match="a JSON file, or one of base, claw, codex, all"):
        taxonomy_of("bas")


@pytest.mark.parametrize(
    ("path", "new", "where", "expected"),
    [
        (["name"], "base", "name", "a name that no shipped taxonomy has"),
        (["name"], "", "name", "lower-case letters"),
        (["extends"], "1.0", "extends", "one of base, claw, codex, all"),
        (["extends"], ["base"], "extends", "one of base, claw, codex, all"),
        (["labels"], [], "labels", "at least one label"),
        (["labels"], {}, "labels", "a list"),
        (["more"], 1, "", "only the keys name, labels, extends"),
        (["labels", 0], "x", "labels[0]", "an object with dimension, id, label, gist"),
        (["labels", 0, "more"], 1, "labels[0]", "only the keys"),
        (["labels", 0, "dimension"], "colour", "labels[0].dimension", "one of risk_source"),
        (["labels", 0, "dimension"], ["x"], "labels[0].dimension", "one of risk_source"),
        (["labels", 0, "id"], "Brand Harm", "labels[0].id", "lower-case letters"),
        (["labels", 0, "label"], "", "labels[0].label", "text, not empty"),
        (["labels", 0, "label"], " ", "labels[0].label", "text, not empty"),
        (["labels", 0, "label"], "Brand\nHarm", "labels[0].label", "one line"),
        (["labels", 0, "label"], "x" * 201, "labels[0].label", "one line of at most 200"),
        (["labels", 0, "gist"], None, "labels[0].gist", "text, not empty"),
        (["labels", 0, "aliases"], "Harm", "labels[0].aliases", "a list"),
        (["labels", 0, "aliases", 0], "", "labels[0].aliases[0]", "text, not empty"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, path: list[Any], new: object, where: str, expected: str
) -> None:
    value = copy.deepcopy(OWN)
    at: Any = value
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = new
    file = written(tmp_path, value)
    with pytest.raises(TaxonomyError) as caught:
        read_taxonomy(file)
    assert caught.value.where == (f"{file}: {where}" if where else str(file))
    assert caught.value.expected.startswith(expected)


@pytest.mark.parametrize("key", ["name", "labels"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    value = {name: item for name, item in OWN.items() if name != key}
    with pytest.raises(TaxonomyError, match=f"expected the key '{key}'"):
        read_taxonomy(written(tmp_path, value))


@pytest.mark.parametrize(
    ("new", "where"),
    [
        ({"id": "privacy_and_confidentiality_harm"}, "privacy_and_confidentiality_harm: id"),
        ({"label": "privacy & confidentiality harm"}, "brand_harm: label"),
        ({"aliases": ["Physical & Health Harm"]}, "brand_harm: label"),
    ],
)
def test_doubles_of_shipped_labels(tmp_path: Path, new: dict[str, Any], where: str) -> None:
    value = {**OWN, "labels": [{**OWN["labels"][0], **new}]}
    with pytest.raises(TaxonomyError) as caught:
        read_taxonomy(written(tmp_path, value))
    assert caught.value.where == f"taxonomy acme: real_world_harm: {where}"


@pytest.mark.parametrize("text", ["", "{", "[" * 5000, "\x00"])
def test_what_is_no_json(tmp_path: Path, text: str) -> None:
    with pytest.raises(TaxonomyError, match="expected a JSON file"):
        read_taxonomy(written(tmp_path, text))


def test_files_that_are_too_big_or_absent(tmp_path: Path) -> None:
    with pytest.raises(TaxonomyError, match="at most 1048576 bytes"):
        read_taxonomy(written(tmp_path, json.dumps({**OWN, "name": "x" * (1 << 20)})))
    with pytest.raises(TaxonomyError, match="No such file"):
        read_taxonomy(tmp_path / "none.json")
