"""Guards on fake engines that have labels of a diagnosis."""

from __future__ import annotations

from stepguard.guard import Guard
from stepguard.prompt import place_fields
from stepguard.taxonomy import Dimension, Fields, Label, Taxonomy, lines_of
from tests.front.fakes import FakeEngine, byte_tokenizer, make_guard, make_prompt

TEXTS = {
    "risk_source": ("user", "user input", "page", "tool", "tools"),
    "failure_mode": ("haste", "hast", "none"),
    "real_world_harm": ("money", "mind", "x"),
}
TAXONOMY = Taxonomy(
    "test",
    tuple(
        Label(Dimension(name), f"{name}-{text.replace(' ', '-')}", text, "a gist")
        for name, texts in TEXTS.items()
        for text in texts
    ),
)


def fields() -> Fields:
    return place_fields(make_prompt(), byte_tokenizer(), TAXONOMY, lines_of("word"))


def make_diagnosable(engine: FakeEngine) -> Guard:
    return make_guard(engine, taxonomy="test", diagnosis=fields().to_manifest())
