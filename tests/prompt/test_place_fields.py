"""Where labels are read: the ids are those of the whole answer, counted for real vocabularies."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import tokenizers_for_test as made
from prompt_cases import encoder, prompt
from tokenizers import Tokenizer, normalizers

from stepguard.errors import TaxonomyError
from stepguard.prompt import Step, Trajectory, build_prompt, diagnosis_mode, place_fields
from stepguard.taxonomy import (
    ANSWER_LINES,
    SHIPPED,
    Dimension,
    Fields,
    Label,
    Taxonomy,
    lines_of,
    shipped,
)

NAMES = list(made.TOKENIZERS)
TRAJECTORY = Trajectory("A bank.", (Step.user("Pay."), Step.agent("I pay", "pay(1)")))


def placed(name: str, taxonomy: str = "all", lines: str = "agentdog-1.0") -> Fields:
    tokenizer = made.TOKENIZERS[name]()
    return place_fields(prompt(name), tokenizer, shipped(taxonomy), ANSWER_LINES[lines])


def own(*texts: str, **more: Any) -> Taxonomy:
    labels = [Label(Dimension.RISK_SOURCE, f"l{i}", t, "a gist") for i, t in enumerate(texts)]
    return Taxonomy("own", tuple(labels), **more)


@pytest.mark.parametrize(("name", "taxonomy", "lines"), list(product(NAMES, SHIPPED, ANSWER_LINES)))
def test_a_dimension_costs_its_line_and_a_few_tokens(name: str, taxonomy: str, lines: str) -> None:
    for index, field in enumerate(placed(name, taxonomy, lines).fields):
        assert field.trie.tokens <= 8  # the limit that was set is 16
        assert len(field.head) <= (6 if index == 0 else 4)


@pytest.mark.parametrize(("name", "lines"), list(product(NAMES, ANSWER_LINES)))
def test_lines_one_after_the_other_are_the_whole_answer(name: str, lines: str) -> None:
    fields, tokenizer = placed(name, lines=lines), made.TOKENIZERS[name]()
    form, special = ANSWER_LINES[lines], made.special_tokens(name)
    whole = encoder(name).whole(TRAJECTORY).tolist()
    open_at = max(i for i, token in enumerate(whole) if token in special.values()) + 1
    question = tokenizer.decode(whole[open_at:])
    end = next(piece.ids for piece in prompt(name).question if piece.ids)
    for pick in range(21):
        chosen = [field.entries[pick % len(field.entries)] for field in fields.fields]
        ids = [i for f, e in zip(fields.fields, chosen, strict=True) for i in (*f.head, *e.path)]
        texts = [line + e.text for (_, line), e in zip(form.fields, chosen, strict=True)]
        answer = "\n".join(["unsafe", *texts] if form.after_verdict else texts)
        expected = tokenizer.encode(question + answer, add_special_tokens=False).ids
        assert whole[open_at:] + ids == [*expected, *end]


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_the_tokens_that_tell_labels_apart(name: str) -> None:
    fields = placed(name)
    for field in fields.fields:
        firsts = {entry.path[0] for entry in field.entries}
        assert firsts <= set(fields.rows)
    assert Fields.from_manifest("all", fields.to_manifest()) == fields


@pytest.mark.parametrize("name", NAMES)
def test_one_label_before_another(name: str) -> None:
    """Labels that begin with the whole of another one are told apart by the end of the line."""
    texts = ("Tool", "Tool Misuse", "Tool Misuse in a Mail", "Tools", "x")
    fields = place_fields(
        prompt(name), made.TOKENIZERS[name](), own(*texts), ANSWER_LINES["agentdog-1.0"]
    )
    (field,) = fields.fields
    paths = [entry.path for entry in field.entries]
    assert len(set(paths)) == len(texts)
    assert not any(a != b and b[: len(a)] == a for a in paths for b in paths)


@pytest.mark.parametrize(
    ("texts", "text"),
    [
        (["e\u0301tat", "x"], r"l0: expected a label that the tokenizer gives back as it is"),
        (["\u00e9tat", "e\u0301tat"], "l0 and l1 with the same tokens"),
        (["x"], "at least two labels, got one"),
        ([], "or of the first of them, got others"),
    ],
)
def test_labels_that_this_tokenizer_cannot_write(texts: list[str], text: str) -> None:
    """Qwen's tokenizer composes characters before it cuts."""
    tokenizer = made.TOKENIZERS["qwen25"]()
    with pytest.raises(TaxonomyError, match=text):
        place_fields(prompt("qwen25"), tokenizer, own(*texts), ANSWER_LINES["agentdog-1.0"])


def test_lines_whose_tokens_reach_into_the_next() -> None:
    """In this vocabulary a line break after a letter is one token with it, for one label only."""
    tokenizer = made.TOKENIZERS["smollm2"]()
    changed = Tokenizer.from_str(tokenizer.to_str())
    changed.normalizer = normalizers.Replace("x\nF", "y")
    labels = [
        Label(dimension, text, text, "a gist")
        for dimension in (Dimension.RISK_SOURCE, Dimension.FAILURE_MODE)
        for text in ("ax", "b")
    ]
    taxonomy = Taxonomy("own", tuple(labels))
    with pytest.raises(TaxonomyError, match=r"lines whose tokens end with the line, got .*ax\\n"):
        place_fields(prompt("smollm2"), changed, taxonomy, ANSWER_LINES["agentdog-1.0"])


def test_a_dimension_without_the_one_before_it() -> None:
    labels = [Label(Dimension.REAL_WORLD_HARM, t, t, "a gist") for t in ("a", "b")]
    with pytest.raises(TaxonomyError, match="or of the first of them, got others"):
        place_fields(
            prompt("smollm2"),
            made.smollm2(),
            Taxonomy("own", tuple(labels)),
            ANSWER_LINES["agentdog-1.0"],
        )


@pytest.mark.parametrize("name", ["qwen25", "qwen35"])
@pytest.mark.parametrize(
    ("template", "answer"),
    [
        (
            "v1.0/trajectory_finegrained",
            "unsafe\nRisk Source: {0}\nFailure Mode: {1}\nReal World Harm: {2}",
        ),
        (
            "v1.5/unified_safety_classification",
            "Safety: unsafe\nFailure Mode: {1}\nRisk Consequence: {2}\nRisk Source: {0}",
        ),
    ],
)
def test_official_prompts_are_asked_in_their_own_lines(
    name: str, template: str, answer: str
) -> None:
    own, tokenizer = prompt(name, template), made.TOKENIZERS[name]()
    assert own.mode == diagnosis_mode(own)
    fields = place_fields(own, tokenizer, shipped("base"), lines_of(own.answer))
    whole = encoder(name, template).whole(TRAJECTORY).tolist()
    special = made.special_tokens(name)
    open_at = max(i for i, token in enumerate(whole) if token in special.values()) + 1
    ids = whole[open_at:]
    texts = {}
    for field in fields.fields:
        assert field.trie.tokens <= 16
        entry = field.entries[-1]
        texts[field.dimension] = entry.text
        ids += [*field.head, *entry.path]
    text = "\n\n" + answer.format(*(texts[dimension] for dimension in Dimension))
    end = next(piece.ids for piece in own.question if piece.ids)
    assert ids == [*tokenizer.encode(text, add_special_tokens=False).ids, *end]


def test_a_guard_that_only_diagnoses() -> None:
    """No word of a verdict stands before its first line."""
    own = build_prompt(
        "Judge.\n{trajectory}\nDiagnose.",
        made.chat_template("qwen25"),
        made.special_tokens("qwen25"),
        made.qwen25(),
        variables=made.variables("qwen25"),
        answer="agentdog-1.5-finegrained",
    )
    assert diagnosis_mode(own) == "diagnosis"
    fields = place_fields(own, made.qwen25(), shipped("base"), lines_of(own.answer))
    assert [field.text for field in fields.fields] == [
        "Failure Mode:",
        "Risk Consequence:",
        "Risk Source:",
    ]
