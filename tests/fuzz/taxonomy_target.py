"""Taxonomy files of one's own."""

from __future__ import annotations

import json

from stepguard.errors import TaxonomyError
from stepguard.taxonomy import parse_taxonomy
from tests.fuzz.mutate import mutate_json
from tests.fuzz.target import Target


def run(data: bytes) -> None:
    taxonomy = parse_taxonomy(data)
    for label in taxonomy.labels:
        for name in (label.id, label.text, *label.aliases):
            assert taxonomy.find(label.dimension, name) is label


def seeds() -> list[bytes]:
    label = {"dimension": "real_world_harm", "id": "brand", "label": "Brand Harm", "gist": "Shame."}
    other = {**label, "id": "b", "label": "B", "aliases": ["C", "D"]}
    own = {"name": "acme", "labels": [label, other]}
    return [json.dumps(value).encode() for value in (own, {**own, "extends": "base"})]


TARGET = Target(
    "taxonomy",
    run,
    seeds,
    (TaxonomyError,),
    mutate_json,
    (b'"extends":"all"', b'"aliases":[""]', b"null", b"1e999", b"\\ud800", b"{}"),
)
