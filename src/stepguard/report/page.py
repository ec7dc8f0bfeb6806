"""The page: one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stepguard._version import __version__
from stepguard.harmless import plain
from stepguard.prompt import Trajectory
from stepguard.report.chart import bar, chart, legend
from stepguard.report.coverage import not_covered
from stepguard.report.diagnosis import diagnoses
from stepguard.report.judged import Judged, Judgement, Model
from stepguard.report.markup import Markup, clipped, joined, tag
from stepguard.report.steps import badge, step_cards, step_link
from stepguard.report.style import policy, style


@dataclass(frozen=True)
class Shown:
    """What a page is about. name: what its file calls the trajectory. most: characters of a text
    that are shown; what is left out is said. note: what a reader should know first."""

    name: str
    trajectory: Trajectory
    judgement: Judgement
    most: int = 4000
    note: str = ""


def page(what: Shown) -> str:
    """The page as text, to be written in UTF-8: it holds no surrogates."""
    rules = style()
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy(rules)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"stepguard: {plain(what.name, 200)}"),
        tag("style", Markup(rules)),
    )
    body = tag("body", tag("main", joined(_sections(what))), tag("footer", _foot()))
    return "<!DOCTYPE html>\n" + tag("html", head, body, lang="en").text + "\n"


def turned(verdicts: tuple[Judged, ...]) -> int | None:
    """The index of the verdict where the trajectory turned: the first unsafe one."""
    return next((i for i, verdict in enumerate(verdicts) if verdict.status == "unsafe"), None)


def _sections(what: Shown) -> Iterator[Markup]:
    verdicts, model = what.judgement.verdicts, what.judgement.model
    turn = turned(verdicts)
    yield tag("h1", clipped(what.name))
    yield _summary(verdicts, turn)
    if what.note:
        yield tag("p", what.note, class_="note")
    yield _section(
        "Score over the actions", _wide(chart(verdicts, model, turn)), legend(), _band(model)
    )
    yield _section("Verdicts", _table(verdicts))
    yield _section("Diagnosis", diagnoses(verdicts))
    yield _section("What was not covered", not_covered(what.trajectory, verdicts, model))
    yield _section("Steps", step_cards(what.trajectory, verdicts, what.most))
    yield _section("Model", _model(model, verdicts))


def _section(title: str, *children: Markup) -> Markup:
    return tag("section", tag("h2", title), *children)


def _wide(*children: Markup) -> Markup:
    """What is scrolled sideways where a window is narrow, also by who has no mouse."""
    return tag("div", *children, class_="wide", tabindex=0)


def _summary(verdicts: tuple[Judged, ...], turn: int | None) -> Markup:
    bad = next((verdict for verdict in verdicts if verdict.status != "safe"), None)
    if turn is not None:
        found = verdicts[turn]
        where = tag("span", "It turned at ", step_link(found.step), f", {_place(turn, verdicts)}.")
    elif bad is not None:
        where = tag(
            "span", "Never unsafe; the first that is not safe is ", step_link(bad.step), "."
        )
    else:
        where = tag("span", "Every verdict is safe.")
    worst = next(
        (s for s in ("unsafe", "unavailable", "unsure") if any(v.status == s for v in verdicts)),
        "safe",
    )
    return tag("p", badge(worst), " ", where)


def _place(index: int, verdicts: tuple[Judged, ...]) -> str:
    return f"verdict {index + 1} of {len(verdicts)}"


def _band(model: Model) -> Markup:
    if model.low is None or model.high is None:
        text = "The thresholds were not saved with these verdicts."
    elif not model.calibrated:
        text = "Not calibrated: the score is no probability, and unsafe from 0.5."
    elif model.low < model.high:
        text = (
            f"Calibrated: safe below {model.low:.3f}, unsafe from {model.high:.3f}, unsure between."
        )
    else:
        text = f"Calibrated: safe below {model.low:.3f}, unsafe from there."
    return tag("p", text, class_="quiet small")


def _table(verdicts: tuple[Judged, ...]) -> Markup:
    names = ("step", "verdict", "score", "margin", "coverage", "tokens read", "ms", "")
    numbers = {"score", "margin", "coverage", "tokens read", "ms"}
    head = tag(
        "tr",
        joined(
            tag("th", name, scope="col", class_="number" if name in numbers else "left")
            for name in names[:-1]
        ),
        tag("td", ""),
    )
    longest = max(verdict.latency_ms for verdict in verdicts) or 1.0
    rows = (_row(verdict, longest) for verdict in verdicts)
    tokens = sum(verdict.tokens_read for verdict in verdicts)
    return _wide(
        tag("table", tag("thead", head), tag("tbody", joined(rows))),
        tag(
            "p",
            f"{tokens:,} tokens read in all. Bars compare the times; where a trajectory was read "
            "at once, each time is from the start of the reading.",
            class_="quiet small",
        ),
    )


def _row(verdict: Judged, longest: float) -> Markup:
    cells = (
        "-" if verdict.score is None else f"{verdict.score:.3f}",
        "-" if verdict.margin is None else f"{verdict.margin:+.3f}",
        f"{100 * verdict.coverage:.1f} %",
        f"{verdict.tokens_read:,}",
        f"{verdict.latency_ms:,.1f}",
    )
    return tag(
        "tr",
        tag("th", step_link(verdict.step), scope="row"),
        tag("td", badge(verdict.status), f" {verdict.reason or ''}"),
        *(tag("td", cell, class_="number") for cell in cells),
        tag("td", bar(verdict.latency_ms / longest), class_="chart"),
    )


def _model(model: Model, verdicts: tuple[Judged, ...]) -> Markup:
    modes = ", ".join(sorted({verdict.mode for verdict in verdicts}))
    facts = {
        "model": model.path,
        "sha256": model.sha256,
        "prompt": model.prompt,
        "mode": modes,
        "ran on": f"{model.isa}, {model.threads} threads, KV {model.kv}, activations "
        f"{model.activations}",
        "time": f"{model.seconds:.2f} s without loading, for the whole file",
    }
    rows = (
        tag("tr", tag("th", name, scope="row"), tag("td", text)) for name, text in facts.items()
    )
    return tag("table", tag("tbody", joined(rows)), class_="facts")


def _foot() -> Markup:
    return tag("p", f"stepguard {__version__}", class_="quiet small")
