"""Written answers are read strictly: good ones say what they say, others say nothing."""

from __future__ import annotations

import time

import pytest
from answer_cases import ANALYSIS, GOOD, LINES_1_5, THOUGHTS, malformed

from stepguard.prompt.answers import ANSWERS
from stepguard.prompt.written import MalformedAnswer, read_answer


@pytest.mark.parametrize("form", GOOD)
def test_good_answers(form: str) -> None:
    answer = ANSWERS[form]
    for text, label in GOOD[form].items():
        written = read_answer(answer, text)
        assert written.label == label
        assert tuple(written.fields) == (answer.fields if label != "safe" else ())
        if label:
            assert text[written.label_at :].lower().startswith(label)


@pytest.mark.parametrize("form", GOOD)
def test_forty_malformed_answers(form: str) -> None:
    for text in malformed(form):
        with pytest.raises(MalformedAnswer):
            print(repr(text), read_answer(ANSWERS[form], text))


def test_values_are_those_of_the_lines() -> None:
    written = read_answer(ANSWERS["agentdog-1.5-unified"], THOUGHTS + "Safety: unsafe" + LINES_1_5)
    assert written.fields["Risk Consequence"] == "Financial & Economic Harm"


def test_thoughts_may_stand_before_every_form() -> None:
    """A chat template may have opened and closed them."""
    empty = "<think>\n\n</think>\n\n"
    assert read_answer(ANSWERS["agentdog-1.0-binary"], empty + "safe").label == "safe"
    text = empty + ANALYSIS + "<Judgment> unsafe </Judgment>"
    assert read_answer(ANSWERS["agentdog-1.5-coarse"], text).label == "unsafe"
    with pytest.raises(MalformedAnswer):
        read_answer(ANSWERS["agentdog-1.5-coarse"], empty + empty + text)


@pytest.mark.parametrize("form", GOOD)
@pytest.mark.parametrize("filler", ["<", " \n", "<think>", "a\nFailure Mode: ", "<Analysis>"])
def test_reading_takes_linear_time(form: str, filler: str) -> None:
    started = time.perf_counter()
    with pytest.raises(MalformedAnswer):
        read_answer(ANSWERS[form], filler * 4_000)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("form", [form for form in GOOD if ANSWERS[form].fields])
@pytest.mark.parametrize("blank", [" ", "\t", "\x0b", "\u2028"])
def test_blanks_behind_values_take_linear_time(form: str, blank: str) -> None:
    """They belong to a value or to what follows: tried in every field, that would be hours."""
    answer = ANSWERS[form]
    head = THOUGHTS if answer.thinks else ""
    head += ANALYSIS if answer.analysis else ""
    head += "" if answer.mode == "diagnosis" else f"{answer.frame} unsafe\n".lstrip()
    lines = "\n".join(f"{field}: x{blank * 4_000}" for field in answer.fields)
    read_answer(answer, head + lines)
    started = time.perf_counter()
    with pytest.raises(MalformedAnswer):
        read_answer(answer, head + lines + "\nand more")
    assert time.perf_counter() - started < 1
