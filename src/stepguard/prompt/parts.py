"""Parts of a step: what a window over a step that is too long shows of it.

Only the longest value is cut; what stands beside it (the short action behind a long thought) is in
every part. A part is rendered as a step of its own, with the role and keys of the whole, so that
the model sees whose text it is, and text that a cut brings to the start of a line is neutralised
like any other.
"""

from __future__ import annotations

from stepguard.prompt.content import Text
from stepguard.prompt.forms import Form
from stepguard.prompt.step import Step

__all__ = ["length", "part"]


def length(form: Form, step: Step) -> int:
    """Characters of the step's longest value, as the form prints it."""
    return max((len(form.value(text)) for _, text in step.fields), default=0)


def part(form: Form, step: Step, start: int, end: int) -> Step:
    """The step with only the characters `start` to `end` of its longest value."""
    longest = max(step.fields, key=lambda field: len(form.value(field[1])))
    piece = form.value(longest[1])[start:end]
    cut = (longest[0], Text(piece, piece))
    return Step(step.role, tuple(cut if field is longest else field for field in step.fields))
