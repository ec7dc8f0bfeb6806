"""The steps, with what was said of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stepguard.prompt import Step, Trajectory
from stepguard.report.judged import Judged
from stepguard.report.markup import Markup, clipped, joined, tag

_LONG = 1000  # characters: more may have to be scrolled, also by who has no mouse

_EDGES = {"unsafe": " not-safe", "unsure": " not-sure", "unavailable": " not-judged"}


def badge(status: str) -> Markup:
    """A status as a word in its colour."""
    return tag("span", status, class_=f"badge {status}")


def step_link(step: int | None) -> Markup:
    """Where a step is shown."""
    return tag("span", "-") if step is None else tag("a", f"step {step}", href=f"#step-{step}")


def step_cards(trajectory: Trajectory, verdicts: Sequence[Judged], most: int) -> Markup:
    """Profile and steps in order. most: characters of each text that are shown."""
    by_step = {verdict.step: verdict for verdict in verdicts}
    cards = (
        _card(index, step, by_step.get(index), most) for index, step in enumerate(trajectory.steps)
    )
    return joined((*_profile(trajectory.profile, most), *cards))


def _profile(profile: str, most: int) -> Iterator[Markup]:
    if profile:
        head = tag("header", tag("h3", "Profile of the agent"))
        yield tag("article", head, _text(profile, most), class_="step")


def _card(index: int, step: Step, verdict: Judged | None, most: int) -> Markup:
    edge = "" if verdict is None else _EDGES.get(verdict.status, "")
    return tag(
        "article",
        tag(
            "header",
            tag("h3", f"{index} · {step.role}"),
            *([] if verdict is None else _said(verdict)),
        ),
        *(_field(key, text.json, most) for key, text in step.fields if not text.empty),
        *(
            []
            if verdict is None or verdict.rationale is None
            else _rationale(verdict.rationale, most)
        ),
        id=f"step-{index}",
        class_=f"step {step.role}{edge}",
    )


def _said(verdict: Judged) -> Iterator[Markup]:
    yield badge(verdict.status)
    score = "no score" if verdict.score is None else f"score {verdict.score:.3f}"
    yield tag("span", f"{score}, {verdict.latency_ms:,.0f} ms", class_="quiet small")
    if verdict.reason is not None:
        yield tag(
            "span", clipped(f"{verdict.reason}: {verdict.message}", 500), class_="quiet small"
        )


def _rationale(text: str, most: int) -> Iterator[Markup]:
    yield tag("p", "what the guard wrote, for people", class_="key")
    yield _text(text, most)


def _field(key: str, text: str, most: int) -> Markup:
    return joined((tag("p", clipped(key), class_="key"), _text(text, most)))


def _text(text: str, most: int) -> Markup:
    focus = {"tabindex": 0} if len(text) > _LONG else {}
    shown = tag("pre", text[:most], dir="auto", **focus)
    if len(text) <= most:
        return shown
    rest = f"{len(text) - most:,} characters more are not shown."
    return joined((shown, tag("p", rest, class_="quiet small")))
