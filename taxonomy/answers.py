"""The lines in which guards print a diagnosis: names of the fields, and their order."""

from __future__ import annotations

from dataclasses import dataclass

from stepguard.taxonomy.dimensions import Dimension

_SOURCE, _MODE, _HARM = Dimension


@dataclass(frozen=True, slots=True)
class AnswerLines:
    """A line per dimension, `NAME LABEL`, in the order in which a guard was trained to print them.

    fields: dimension and what stands before its label. after_verdict: whether the word `unsafe`
    and a line break come first.
    """

    name: str
    fields: tuple[tuple[Dimension, str], ...]
    after_verdict: bool = True


AGENTDOG_1_0_LINES = AnswerLines(
    "agentdog-1.0",
    ((_SOURCE, "Risk Source: "), (_MODE, "Failure Mode: "), (_HARM, "Real World Harm: ")),
)
_ORDER_1_5 = ((_MODE, "Failure Mode: "), (_HARM, "Risk Consequence: "), (_SOURCE, "Risk Source: "))
AGENTDOG_1_5_UNIFIED_LINES = AnswerLines("agentdog-1.5-unified", _ORDER_1_5)
# Prints no verdict.
AGENTDOG_1_5_FINE_LINES = AnswerLines("agentdog-1.5-finegrained", _ORDER_1_5, after_verdict=False)

ANSWER_LINES = {
    lines.name: lines
    for lines in (AGENTDOG_1_0_LINES, AGENTDOG_1_5_UNIFIED_LINES, AGENTDOG_1_5_FINE_LINES)
}


def lines_of(answer: str) -> AnswerLines:
    """The lines of a guard by the form of its answers; other guards than AgentDoG's get 1.0's.

    >>> lines_of("agentdog-1.5-unified").name, lines_of("word").name
    ('agentdog-1.5-unified', 'agentdog-1.0')
    """
    return ANSWER_LINES.get(answer, AGENTDOG_1_0_LINES)
