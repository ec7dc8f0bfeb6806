"""The score over the actions, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stepguard.report.judged import Judged, Model
from stepguard.report.markup import Markup, joined, tag

_WIDTH, _HEIGHT = 960.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 16.0, 26.0, 46.0
_MOST_LABELS = 24
SHAPES = ("safe", "unsure", "unsafe", "unavailable")


def chart(verdicts: Sequence[Judged], model: Model, turn: int | None) -> Markup:
    """One mark per verdict, with its status as shape and colour. turn: the index of the verdict
    where the trajectory turned, None where it did not."""
    return tag(
        "svg",
        tag("title", "Score over the actions", id="chart-title"),
        tag("desc", _in_words(verdicts, model), id="chart-text"),
        *_background(model),
        *_labels(verdicts),
        *([] if turn is None else _turn(_x(turn, len(verdicts)), verdicts[turn])),
        *_curves(verdicts),
        *_marks(verdicts),
        viewBox=f"0 0 {_WIDTH:.0f} {_HEIGHT:.0f}",
        role="img",
        aria_labelledby="chart-title chart-text",
    )


def mark(status: str, x: float, y: float, words: str = "") -> Markup:
    """The mark of a status: a circle, square, triangle or cross. words: what it shows on hover."""
    name = [tag("title", words)] if words else []
    if status == "unavailable":
        path, kind = f"M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10", "cross"
    elif status == "unsafe":
        path, kind = f"M{x:.1f} {y - 7:.1f}l7 12h-14z", "point"
    elif status == "unsure":
        path, kind = f"M{x - 5:.1f} {y - 5:.1f}h10v10h-10z", "point"
    else:
        path, kind = f"M{x - 5:.1f} {y:.1f}a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z", "point"
    return tag("g", *name, tag("path", d=path, class_=kind), class_=status)


def bar(share: float) -> Markup:
    """A bar for a number from 0 to 1, which stands beside it as text."""
    whole = min(max(share, 0.0), 1.0)
    return tag(
        "svg",
        tag("rect", width=100, height=8, rx=2, class_="all"),
        tag("rect", width=100 * whole, height=8, rx=2, class_="part"),
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        aria_hidden="true",
        class_="bar",
    )


def _x(index: int, count: int) -> float:
    width = _WIDTH - _LEFT - _RIGHT
    return _LEFT + width * (index + 0.5) / count


def _y(score: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - score)


def _background(model: Model) -> Iterator[Markup]:
    right = _WIDTH - _RIGHT
    if model.low is not None and model.high is not None:
        low, high = _y(model.low), _y(model.high)
        yield tag(
            "rect", x=_LEFT, y=high, width=right - _LEFT, height=max(low - high, 0.0), class_="band"
        )
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(tick)
        yield tag("line", x1=_LEFT, x2=right, y1=y, y2=y, class_="gridline")
        yield tag("text", f"{tick:.2f}", x=_LEFT - 8, y=y + 4, text_anchor="end")
    for edge in sorted({edge for edge in (model.low, model.high) if edge is not None}):
        yield tag("line", x1=_LEFT, x2=right, y1=_y(edge), y2=_y(edge), class_="threshold")
    yield tag("line", x1=_LEFT, x2=right, y1=_y(0.0), y2=_y(0.0), class_="axis")
    yield tag("text", "score", x=_LEFT, y=14)
    yield tag("text", "step", x=right, y=_HEIGHT - 4, text_anchor="end")


def _labels(verdicts: Sequence[Judged]) -> Iterator[Markup]:
    every = -(-len(verdicts) // _MOST_LABELS)
    for index, verdict in list(enumerate(verdicts))[::every]:
        text = "-" if verdict.step is None else str(verdict.step)
        x = _x(index, len(verdicts))
        yield tag("text", text, x=x, y=_HEIGHT - _BOTTOM + 22, text_anchor="middle")


def _turn(x: float, verdict: Judged) -> Iterator[Markup]:
    yield tag("line", x1=x, x2=x, y1=_TOP, y2=_y(0.0), class_="turn")
    side = "end" if x > _WIDTH / 2 else "start"
    text = f"turned {verdict.status} at step {verdict.step}"
    shift = -4.0 if side == "end" else 4.0
    yield tag("text", text, x=x + shift, y=_TOP - 8, text_anchor=side, class_="unsafe")


def _curves(verdicts: Sequence[Judged]) -> Iterator[Markup]:
    """Lines between neighbours that have a score."""
    run: list[str] = []
    for index, verdict in enumerate((*verdicts, None)):
        if verdict is not None and verdict.score is not None:
            run.append(f"{_x(index, len(verdicts)):.1f},{_y(verdict.score):.1f}")
            continue
        if len(run) > 1:
            yield tag("polyline", points=" ".join(run), class_="curve")
        run = []


def _marks(verdicts: Sequence[Judged]) -> Iterator[Markup]:
    for index, verdict in enumerate(verdicts):
        score = "no score" if verdict.score is None else f"score {verdict.score:.3f}"
        words = f"step {verdict.step}: {verdict.status}, {score}"
        y = _y(0.0 if verdict.score is None else verdict.score)
        yield mark(verdict.status, _x(index, len(verdicts)), y, words)


def _in_words(verdicts: Sequence[Judged], model: Model) -> str:
    counts = (
        f"{sum(v.status == status for v in verdicts)} {status}"
        for status in SHAPES
        if any(v.status == status for v in verdicts)
    )
    band = ""
    if model.low is not None and model.high is not None:
        band = f" Safe is below {model.low:.3f}, unsafe from {model.high:.3f}."
    return f"{len(verdicts)} verdicts: {', '.join(counts)}.{band} The table below has the numbers."


def legend() -> Markup:
    """What the shapes mean."""
    entries = (
        tag(
            "span",
            tag("svg", mark(status, 8.0, 8.0), viewBox="0 0 16 16", aria_hidden="true"),
            f" {status}",
        )
        for status in SHAPES
    )
    return tag("p", joined(entries), class_="legend")
