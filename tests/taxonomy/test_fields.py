"""The manifest's entry about a diagnosis: round trip, refusals, fewer labels."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from stepguard.errors import TaxonomyError
from stepguard.taxonomy import Dimension, Entry, Field, Fields, Label, Taxonomy

ROOT = Path(__file__).resolve().parents[2]


def field(dimension: Dimension, *names: str) -> Field:
    entries = tuple(Entry(name, name.upper(), (i, 50)) for i, name in enumerate(names))
    return Field(dimension, "Line:", (90, 91), entries)


FIELDS = Fields(
    "t",
    "agentdog-1.0",
    (field(Dimension.RISK_SOURCE, "a", "b", "c"), field(Dimension.FAILURE_MODE, "d", "e")),
)


def taxonomy(**ids: str) -> Taxonomy:
    labels = [
        Label(Dimension(name), each, each.upper(), "a gist") for name in ids for each in ids[name]
    ]
    return Taxonomy("mine", tuple(labels))


def test_the_manifest_gives_the_same_back() -> None:
    text = json.dumps(FIELDS.to_manifest())
    assert Fields.from_manifest("t", json.loads(text)) == FIELDS
    assert FIELDS.rows == (0, 1, 2)


def keys(value: Any, prefix: str) -> set[str]:
    if isinstance(value, dict):
        return {f"{prefix}.{key}" for key in value} | {
            name for key, item in value.items() for name in keys(item, f"{prefix}.{key}")
        }
    return keys(value[0], prefix) if isinstance(value, list) else set()


def test_the_page_explains_every_key() -> None:
    page = (ROOT / "docs" / "manifest.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `(diagnosis\.[^`]+)`", page, re.MULTILINE))
    assert listed == keys(FIELDS.to_manifest(), "diagnosis")


@pytest.mark.parametrize(
    ("path", "new", "where"),
    [
        ([], None, "diagnosis"),
        (["lines"], "", "diagnosis.lines"),
        (["fields"], [], "diagnosis.fields"),
        (["fields", 0, "dimension"], "colour", "diagnosis.fields[0].dimension"),
        (["fields", 1, "dimension"], "risk_source", "diagnosis.fields"),
        (["fields", 0, "text"], 3, "diagnosis.fields[0].text"),
        (["fields", 0, "head"], [], "diagnosis.fields[0].head"),
        (["fields", 0, "head"], [True], "diagnosis.fields[0].head"),
        (["fields", 0, "more"], 1, "diagnosis.fields[0]"),
        (["fields", 0, "labels"], {}, "diagnosis.fields[0].labels"),
        (["fields", 0, "labels", 1, "id"], "a", "diagnosis.fields[0].labels"),
        (["fields", 0, "labels", 1, "id"], None, "diagnosis.fields[0].labels[1].id"),
        (["fields", 0, "labels", 1, "path"], [-1], "diagnosis.fields[0].labels[1].path"),
        (["fields", 0, "labels", 1, "path"], [0, 50], "labels"),
        (["fields", 1, "labels"], [{"id": "d", "text": "D", "path": [1]}], "labels"),
    ],
)
def test_damage_is_named(path: list[Any], new: object, where: str) -> None:
    value: Any = copy.deepcopy(FIELDS.to_manifest())
    if path:
        at = value
        for name in path[:-1]:
            at = at[name]
        at[path[-1]] = new
    else:
        value = new
    with pytest.raises(TaxonomyError) as caught:
        Fields.from_manifest("t", value)
    assert caught.value.where == where


def test_fewer_labels() -> None:
    fewer = FIELDS.restrict(taxonomy(risk_source="ca"))
    assert fewer.taxonomy == "mine"
    assert [[entry.id for entry in field.entries] for field in fewer.fields] == [["c", "a"]]
    same = FIELDS.restrict(taxonomy(risk_source="abc", failure_mode="de"))
    assert same.fields == FIELDS.fields


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ({"risk_source": "abx"}, r"got x: 'X'\. Export again with --taxonomy FILE"),
        ({"risk_source": "a"}, "at least two labels, got one"),
        ({"failure_mode": "de"}, "or of the first of them"),
        ({"real_world_harm": "ab"}, "or of the first of them"),
    ],
)
def test_labels_that_the_guard_does_not_have(labels: dict[str, str], text: str) -> None:
    with pytest.raises(TaxonomyError, match=text):
        FIELDS.restrict(taxonomy(**labels))
