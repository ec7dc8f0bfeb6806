"""A prompt file as it is given: what kind it is, and its text around what changes."""

from __future__ import annotations

from dataclasses import dataclass

from stepguard.errors import PromptError
from stepguard.prompt.answers import ANSWERS, WORD, Answer
from stepguard.prompt.forms import AGENTDOG_1_0, AGENTDOG_1_5, Form
from stepguard.prompt.official import OFFICIAL, OfficialPrompt, recognise, sha256

__all__ = ["PROFILE_MARK", "STEPS_MARK", "Source", "read_source"]

# Where the steps stand, and in which layout; where the profile and a taxonomy stand.
STEPS = {"{trajectory}": AGENTDOG_1_0, "{formatted_trajectory}": AGENTDOG_1_5}
PROFILE, TAXONOMY = "{tool_list_text}", "{taxonomy}"

STEPS_MARK, PROFILE_MARK = "stepguard-trajectory-3b1f0c", "stepguard-profile-3b1f0c"


@dataclass(frozen=True, slots=True)
class Source:
    """A prompt file with its taxonomy.

    `message` is its text with marks for the steps and the profile; `parts` are the texts between
    the marks.
    """

    name: str
    official: bool
    sha256: str
    taxonomy_sha256: str
    form: Form
    answer: Answer
    message: str

    @property
    def parts(self) -> list[str]:
        """The texts before, between and after the marks."""
        return self.message.replace(PROFILE_MARK, STEPS_MARK).split(STEPS_MARK)

    @property
    def edges(self) -> set[str]:
        """The lines of the template that stand next to content."""
        first, *_ = parts = self.parts
        lines = {_edge(text, 0) for text in parts[1:]} | {_edge(text, -1) for text in parts[:-1]}
        return {line for line in (*lines, _edge(first, -1)) if line}


def read_source(template: str, taxonomy: str | None, answer: str | None) -> Source:
    """What a prompt file is. `taxonomy` is the text in its place `{taxonomy}`, `answer` the form of
    the guard's answers, where nothing else tells. Raises PromptError.
    """
    known = recognise(template)
    if known is not None and known.form is None:
        expected = "a prompt that asks for a judgement"
        fix = "Give this file with --prompt-taxonomy, beside the prompt that has a place for it."
        raise PromptError("prompt", expected=expected, got=f"{known.name}, a taxonomy", fix=fix)
    place = _place(template)
    form = known.form if known and known.form else STEPS[place]
    text = template.replace(place, STEPS_MARK).replace(PROFILE, PROFILE_MARK)
    if template.count(PROFILE) > 1:
        raise PromptError("prompt", expected=f"{PROFILE} once", got=f"{template.count(PROFILE)}")
    _check_taxonomy(template, taxonomy)
    filled = None if taxonomy is None else recognise(taxonomy)
    complete = taxonomy is None or (filled is not None and filled.form is None)
    return Source(
        name=known.name if known else "custom",
        official=known is not None and complete,
        sha256=sha256(template),
        taxonomy_sha256="" if taxonomy is None else sha256(taxonomy),
        form=form,
        answer=_answer(known, answer),
        message=text if taxonomy is None else text.replace(TAXONOMY, taxonomy),
    )


def _place(template: str) -> str:
    counts = {place: template.count(place) for place in STEPS}
    if sum(counts.values()) != 1:
        expected = f"{' or '.join(STEPS)} exactly once"
        raise PromptError("prompt", expected=expected, got=f"{sum(counts.values())} times")
    return next(place for place, count in counts.items() if count)


def _check_taxonomy(template: str, taxonomy: str | None) -> None:
    count = template.count(TAXONOMY)
    if count != (taxonomy is not None):
        name = next(prompt.name for prompt in OFFICIAL if prompt.form is None)
        fix = f"Give it with --prompt-taxonomy FILE; the official one is {name}.txt."
        expected = "a taxonomy" if count else f"a prompt with the place {TAXONOMY} for the taxonomy"
        raise PromptError("prompt", expected=expected, got=f"{TAXONOMY} {count} times", fix=fix)


def _answer(known: OfficialPrompt | None, name: str | None) -> Answer:
    if name is not None and name not in ANSWERS:
        raise PromptError("answer", expected=f"one of {', '.join(ANSWERS)}", got=repr(name)[:80])
    if known is not None and name not in (None, known.answer):
        raise PromptError("answer", expected=f"{known.answer}, as {known.name} asks for", got=name)
    return ANSWERS[known.answer] if known else ANSWERS[name] if name else WORD


def _edge(text: str, which: int) -> str:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return lines[which] if lines else ""
