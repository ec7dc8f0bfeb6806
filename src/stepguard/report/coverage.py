"""What verdicts do not speak about, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stepguard.prompt import Trajectory
from stepguard.report.judged import Judged, Model
from stepguard.report.markup import Markup, clipped, joined, tag


def not_covered(trajectory: Trajectory, verdicts: Sequence[Judged], model: Model) -> Markup:
    """A list; where it is empty, that."""
    found = list(_sentences(trajectory, verdicts, model))
    if not found:
        return tag("p", "All steps up to the last verdict were read whole.", class_="quiet")
    return tag("ul", joined(tag("li", clipped(text, 500)) for text in found))


def _sentences(trajectory: Trajectory, verdicts: Sequence[Judged], model: Model) -> Iterator[str]:
    last = verdicts[-1]
    for verdict in verdicts:
        if verdict.reason is not None:
            yield f"Step {verdict.step} has no verdict ({verdict.reason}): {verdict.message}"
    least = min(verdicts, key=lambda verdict: verdict.coverage)
    if least.coverage < 1:
        yield (
            f"The verdict at step {least.step} covers {100 * least.coverage:.1f} % of the tokens "
            "before it; no other covers less."
        )
    for first, final in last.left_out:
        yield f"Steps {first} to {final} no longer fitted into the last verdict's context."
    if (widest := max(verdict.windows for verdict in verdicts)) > 1:
        yield f"A step was too long for the context and was read in {widest} windows."
    if last.unreadable:
        parts = "part of a step is" if last.unreadable == 1 else "parts of steps are"
        yield f"{last.unreadable} {parts} no text (images and the like) and not read."
    if last.neutralised:
        yield f"Neutralised: {_times(last.neutralised, 'imitation')} of the template's delimiters."
    if last.capped:
        yield f"Text was cut where the tokenizer would not have: {_times(last.capped, 'time')}."
    after = 0 if last.step is None else len(trajectory.steps) - 1 - last.step
    if after > 0:
        yield f"After the last verdict came {_times(after, 'step')}: nothing was said of that."
    if not model.calibrated:
        yield "No calibration fits these settings: scores are no probabilities."


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
