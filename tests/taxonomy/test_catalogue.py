"""The shipped labels, how they are found, and what may not be a taxonomy."""

from __future__ import annotations

import doctest
import json

import pytest

from stepguard.errors import TaxonomyError
from stepguard.taxonomy import (
    ANSWER_LINES,
    SHIPPED,
    Dimension,
    FailureMode,
    Label,
    RealWorldHarm,
    RiskSource,
    Taxonomy,
    answers,
    catalogue,
    shipped,
)
from tests.conftest import shared_path

IDS = {
    Dimension.RISK_SOURCE: RiskSource,
    Dimension.FAILURE_MODE: FailureMode,
    Dimension.REAL_WORLD_HARM: RealWorldHarm,
}


def label(name: str, text: str, *aliases: str, dimension: str = "risk_source") -> Label:
    return Label(Dimension(dimension), name, text, "a gist", aliases=aliases)


def test_the_labels_are_those_of_the_fact_sheet() -> None:
    facts = json.loads(shared_path("facts", "taxonomy.json").read_text("utf-8"))
    for dimension, known in facts["dimensions"].items():
        ours = shipped("all").of(Dimension(dimension))
        assert len(ours) == facts["counts"]["extended"][dimension]
        base = facts["counts"]["base"][dimension]
        assert len(shipped("base").of(Dimension(dimension))) == base
        for fact, own in zip(known, ours, strict=True):
            assert (own.id, own.text) == (fact["id"], fact["label"])
            assert own.group == fact.get("group", "")
            assert list(own.aliases) == fact.get("aliases", [])
            assert own.setting == {"1.0": "base"}.get(fact["since"], fact["since"])
            assert own.gist != fact["gist"]  # in our own words


def test_the_lines_are_those_of_the_fact_sheet() -> None:
    facts = json.loads(shared_path("facts", "taxonomy.json").read_text("utf-8"))
    printed = facts["field_names_printed"]
    for ours, theirs in (
        ("agentdog-1.0", "v1.0_fine_grained"),
        ("agentdog-1.5-finegrained", "v1.5_fine_grained"),
        ("agentdog-1.5-unified", "v1.5_unified"),
    ):
        names = [name.removesuffix(" ") for _, name in ANSWER_LINES[ours].fields]
        assert names == printed[theirs]["order"]


@pytest.mark.parametrize("dimension", list(Dimension))
def test_typed_ids_name_the_labels(dimension: Dimension) -> None:
    assert [entry.id for entry in shipped("all").of(dimension)] == list(IDS[dimension])


def test_settings_add_their_leaves() -> None:
    counts = {name: len(shipped(name).labels) for name in SHIPPED}
    assert counts == {"base": 32, "claw": 43, "codex": 36, "all": 47}
    with pytest.raises(TaxonomyError, match="one of base, claw, codex, all, got 'none'"):
        shipped("none")


def test_every_name_leads_to_its_label() -> None:
    taxonomy = shipped("all")
    for entry in taxonomy.labels:
        for name in (entry.id, entry.text, *entry.aliases):
            for spelling in (name, name.upper(), f"  {name.lower()} "):
                assert taxonomy.find(entry.dimension, spelling) is entry
        assert len(entry.gist) < 100
    assert taxonomy.find(Dimension.RISK_SOURCE, "choosing malicious tools") is None
    assert taxonomy.find(Dimension.FAILURE_MODE, "") is None


@pytest.mark.parametrize(
    ("labels", "where"),
    [
        ([label("a", "One"), label("a", "Two")], "taxonomy t: risk_source: a: id"),
        ([label("a", "One"), label("b", "one")], "taxonomy t: risk_source: b: label"),
        ([label("a", "One"), label("b", "Two", "ONE")], "taxonomy t: risk_source: b: label"),
        ([label("a", "")], "taxonomy t: risk_source: a: label"),
        ([label("a", " One")], "taxonomy t: risk_source: a: label"),
        ([label("", "One")], "taxonomy t: risk_source: a label: id"),
        ([label("a", "One", " ")], "taxonomy t: risk_source: a: aliases"),
    ],
)
def test_labels_that_cannot_be_told_apart(labels: list[Label], where: str) -> None:
    with pytest.raises(TaxonomyError) as caught:
        Taxonomy("t", tuple(labels))
    assert caught.value.where == where


def test_dimensions_do_not_disturb_each_other() -> None:
    labels = (label("a", "One"), label("a", "One", dimension="failure_mode"))
    assert Taxonomy("t", labels).find(Dimension.FAILURE_MODE, "one") is labels[1]


@pytest.mark.parametrize("module", [answers, catalogue])
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
