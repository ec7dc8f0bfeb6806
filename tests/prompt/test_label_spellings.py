"""Where a verdict is read, and the spellings of a label that it is told from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import tokenizers_for_test as made
from prompt_cases import BINARY, NAMES, prompt

from stepguard.errors import PromptError
from stepguard.prompt.answers import WORD, Label
from stepguard.prompt.labels import place_labels
from stepguard.prompt.pieces import Piece


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("template", ["short", BINARY])
def test_labels_are_read_behind_the_question(name: str, template: str) -> None:
    own, tokenizer = prompt(name, template), made.TOKENIZERS[name]()
    for label, spellings in WORD.labels.items():
        assert [s.text for s in own.labels[label]] == [s.text for s in spellings]
        for spelling in own.labels[label]:
            assert tokenizer.decode(list(spelling.path)) == spelling.text
    first = {label: {s.path[0] for s in group} for label, group in own.labels.items()}
    assert not first["safe"] & first["unsafe"]
    assert own.row_ids == tuple(sorted(first["safe"] | first["unsafe"]))
    assert all(0 <= i < tokenizer.get_vocab_size() for i in own.row_ids)


SPELLINGS = {"safe": ("safe", "Safe"), "unsafe": ("unsafe", "Unsafe")}


def label(question: list[Piece], spellings: Mapping[str, tuple[str, ...]]) -> Any:
    labels = {label: tuple(map(Label, texts)) for label, texts in spellings.items()}
    return place_labels(question, Piece("<|im_end|>", (2,)), made.smollm2(), labels)


def test_a_label_that_merges_with_the_frame() -> None:
    """`Safety: ` ends in a space that belongs to the label's first token."""
    question, labels = label([Piece("x", (1,)), Piece("Safety: ")], SPELLINGS)
    tokenizer = made.smollm2()
    assert question[1:] == (Piece("Safety:"),)
    assert [s.path for s in labels["safe"]] == [
        tuple(tokenizer.encode(text).ids) for text in (" safe", " Safe")
    ]


def test_a_common_beginning_moves_into_the_question() -> None:
    question, labels = label(
        [Piece("x", (1,)), Piece("\n")], {"safe": ("risk low", "Low"), "unsafe": ("risk high",)}
    )
    tokenizer = made.smollm2()
    assert tokenizer.decode([i for piece in question[1:] for i in piece.ids]) == "\nrisk"
    assert tokenizer.decode(list(labels["safe"][0].path)) == " low"
    assert [s.text for s in labels["safe"]] == ["risk low"]  # "Low" begins otherwise


def test_a_label_that_begins_the_other_is_told_apart_by_its_end() -> None:
    _, labels = label([Piece("x", (1,))], {"safe": ("safe",), "unsafe": ("safe not",)})
    assert labels["safe"][0].path == (2,)


def test_spellings_that_begin_like_the_other_label_are_left_out() -> None:
    """`unclear` and `unwise` both begin with `un`, `safe!` with `safe`."""
    spellings = {"safe": ("safe", "unclear"), "unsafe": ("unsafe", "unwise", "safe!", "bad")}
    _, labels = label([Piece("x", (1,))], spellings)
    assert [s.text for s in labels["safe"]] == ["safe"]
    assert [s.text for s in labels["unsafe"]] == ["unsafe", "bad"]


def test_equal_labels_are_refused() -> None:
    with pytest.raises(PromptError, match="labels that differ"):
        label([Piece("x", (1,))], {"safe": ("yes",), "unsafe": ("yes",)})


def test_a_question_without_a_fixed_end_is_refused() -> None:
    with pytest.raises(PromptError, match="a fixed end"):
        place_labels([Piece("\n")], None, made.smollm2())
