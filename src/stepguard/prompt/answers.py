"""The forms in which guards answer: what stands before and after a verdict, and how to get there.

A guard that writes its verdict first is read right after the prompt. One that writes a rationale
first gets the frame of its verdict written for it, or is left to write the whole answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["ANSWERS", "DIAGNOSIS", "FIRST_TOKEN", "FORCED", "RATIONALE", "WORD", "Answer", "Label"]

FIRST_TOKEN, FORCED, RATIONALE, DIAGNOSIS = "first_token", "forced", "rationale", "diagnosis"


@dataclass(frozen=True, slots=True)
class Label:
    """A way to write a label: its text, and the text behind it; "" where the answer ends."""

    text: str
    end: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a family of guards answers.

    `mode` is how a verdict is read without a rationale; `diagnosis` for a guard that gives none.
    `frame` stands before the label; `labels` are the accepted spellings, the first of each is the
    one that guards are trained to write. `thinks`: the answer begins with a block of thoughts,
    `analysis`: with an analysis in tags. `fields`: the lines after an unsafe verdict, or those of
    a diagnosis. `limit`: most tokens of a written answer.
    """

    name: str
    mode: Literal["first_token", "forced", "diagnosis"]
    limit: int
    frame: str = ""
    labels: Mapping[str, tuple[Label, ...]] = field(default_factory=dict)
    thinks: bool = False
    analysis: bool = False
    fields: tuple[str, ...] = ()


def _words(label: str, *ends: str, spaces: tuple[str, ...] = ("",)) -> tuple[Label, ...]:
    spellings = (label, label.capitalize())
    return tuple(
        Label(space + text, space + end if end.startswith("<") else end)
        for text in spellings
        for space in spaces
        for end in ends
    )


_DIMENSIONS_1_5 = ("Failure Mode", "Risk Consequence", "Risk Source")

# One word, the first of the answer. Guards of other families and our own prompt are asked for it.
WORD = Answer(
    "word",
    "first_token",
    16,
    labels={label: _words(label, "") for label in ("safe", "unsafe")},
)

ANSWERS = {
    answer.name: answer
    for answer in (
        WORD,
        Answer("agentdog-1.0-binary", "first_token", 16, labels=WORD.labels),
        Answer(
            "agentdog-1.0-finegrained",
            "first_token",
            128,
            labels={"safe": _words("safe", ""), "unsafe": _words("unsafe", "\n")},
            fields=("Risk Source", "Failure Mode", "Real World Harm"),
        ),
        Answer(
            "agentdog-1.5-coarse",
            "forced",
            1024,
            frame="<Judgment>",
            labels={
                label: _words(label, "</Judgment>", spaces=(" ", ""))
                for label in ("safe", "unsafe")
            },
            analysis=True,
        ),
        Answer(
            "agentdog-1.5-finegrained", "diagnosis", 1024, analysis=True, fields=_DIMENSIONS_1_5
        ),
        Answer(
            "agentdog-1.5-unified",
            "forced",
            1024,
            frame="Safety:",
            labels={
                "safe": _words("safe", "", spaces=(" ",)),
                "unsafe": _words("unsafe", "\n", spaces=(" ",)),
            },
            thinks=True,
            fields=_DIMENSIONS_1_5,
        ),
    )
}
