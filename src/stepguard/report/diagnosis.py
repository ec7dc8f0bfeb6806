"""The diagnoses: every label's probability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stepguard.report.chart import bar
from stepguard.report.judged import Diagnosed, Judged
from stepguard.report.markup import Markup, clipped, joined, tag
from stepguard.report.steps import step_link

_FIRST = 5  # labels that are shown at once
NAMES = {
    "risk_source": "Where the risk came from",
    "failure_mode": "How the agent failed",
    "real_world_harm": "What harm follows",
}


def diagnoses(verdicts: Sequence[Judged]) -> Markup:
    """One block per verdict that has a diagnosis."""
    blocks = [
        joined((tag("h3", step_link(verdict.step)), *_block(verdict.diagnosis)))
        for verdict in verdicts
        if verdict.diagnosis is not None
    ]
    if blocks:
        return joined(blocks)
    unsafe = any(verdict.status == "unsafe" for verdict in verdicts)
    text = "No diagnosis was made." if unsafe else "Nothing is unsafe, so nothing was diagnosed."
    return tag("p", text, class_="quiet")


def _block(found: Diagnosed) -> Iterator[Markup]:
    for dimension in found.order:
        if shares := found.of(dimension):
            beside = found.out_of_vocabulary.get(dimension)
            yield _dimension(NAMES[dimension], shares, beside)
    if not found.complete:
        yield tag(
            "p", clipped(f"Not complete: {found.reason}: {found.message}", 500), class_="note"
        )
    yield tag("p", f"Read in {found.latency_ms:,.1f} ms, after the verdict.", class_="quiet small")


def _dimension(title: str, shares: Mapping[str, float], beside: float | None) -> Markup:
    ranked = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    first, more = ranked[:_FIRST], ranked[_FIRST:]
    parts = [_rows(title, first)]
    if more:
        rest = tag("summary", f"{len(more)} more labels")
        parts.append(tag("details", rest, _rows("", more)))
    if beside is not None:
        text = f"{beside:.3f} of what the model would write here is none of these labels."
        parts.append(tag("p", text, class_="quiet small"))
    return joined(parts)


def _rows(title: str, ranked: Sequence[tuple[str, float]]) -> Markup:
    rows = (
        tag(
            "tr",
            tag("th", clipped(label), scope="row"),
            tag("td", f"{share:.3f}", class_="number"),
            tag("td", bar(share), class_="chart"),
        )
        for label, share in ranked
    )
    caption = [tag("caption", title)] if title else []
    return tag("table", *caption, tag("tbody", joined(rows)))
