"""A written answer, read strictly: what is not exactly of the guard's form is no answer.

White space may stand around an answer and between its parts. Tags of the verdict are accepted with
and without spaces inside; everything else is as the official prompts ask for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from stepguard.prompt.answers import ANSWERS, DIAGNOSIS, Answer

__all__ = ["MalformedAnswer", "Written", "read_answer"]

_THOUGHTS = r"<think>(?:(?!</?think>).)*</think>\s*"
_ANALYSIS = r"<Analysis>(?:(?!</?(?:Analysis|Judgment|think)>).)*\S\s*</Analysis>\s*"
_LABEL = "(?P<label>[Ss]afe|[Uu]nsafe)"


class MalformedAnswer(Exception):
    """An answer that is not of its form; says what is wrong. It never leaves the package."""


@dataclass(frozen=True, slots=True)
class Written:
    """What an answer says.

    `label` is "safe" or "unsafe", "" for a diagnosis alone; `fields` are the lines after it by
    name; `label_at` is the place of the label in the text, -1 without one.
    """

    label: str
    fields: Mapping[str, str]
    label_at: int


def read_answer(answer: Answer, text: str) -> Written:
    """What `text`, a whole answer from its first character, says. Raises MalformedAnswer."""
    found = _pattern(answer.name).fullmatch(text)
    if found is None:
        raise MalformedAnswer(f"the answer is not of the form {answer.name}")
    values = [found.group(f"field{i}") for i in range(len(answer.fields))]
    fields = {
        name: value.strip()
        for name, value in zip(answer.fields, values, strict=True)
        if value is not None
    }
    for name, value in fields.items():
        if not value:
            raise MalformedAnswer(f"nothing after {name}")
    if answer.mode == DIAGNOSIS:
        return Written("", fields, -1)
    label = found.group("label").lower()
    if bool(fields) != (label == "unsafe" and bool(answer.fields)):
        what = "no labels after it" if label == "unsafe" else "labels that belong to unsafe"
        raise MalformedAnswer(f"the answer says {label}, with {what}")
    return Written(label, fields, found.start("label"))


@cache
def _pattern(name: str) -> re.Pattern[str]:
    answer = ANSWERS[name]
    # A value never gives a character back: how its blanks are shared with what follows makes no
    # difference, and trying every share takes hours.
    lines = "".join(
        rf"\s*\n{re.escape(field)}: ?(?P<field{i}>[^\r\n]++)"
        for i, field in enumerate(answer.fields)
    )
    if answer.mode == DIAGNOSIS:
        verdict = lines.removeprefix(r"\s*\n")
    else:
        verdict = _verdict(answer) + (f"(?:{lines})?" if lines else "")
    thoughts = _THOUGHTS if answer.thinks else f"(?:{_THOUGHTS})?"
    analysis = _ANALYSIS if answer.analysis else ""
    return re.compile(rf"\s*{thoughts}{analysis}{verdict}\s*", re.DOTALL)


def _verdict(answer: Answer) -> str:
    if answer.frame.startswith("<"):
        close = answer.frame.replace("<", "</")
        return f"{re.escape(answer.frame)} ?{_LABEL} ?{re.escape(close)}"
    return f"{re.escape(answer.frame)} {_LABEL}" if answer.frame else _LABEL
