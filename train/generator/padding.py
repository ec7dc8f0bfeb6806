"""Results as long as real ones: what tools add around what was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepguard.train.generator.draw import Draw

_SHARE = 0.3  # of looks whose result is longer
_KEYS: tuple[tuple[str, Any], ...] = (
    ("request_id", "req-{id6}"), ("took_ms", "{count6}"), ("page", 1), ("has_more", False),
    ("updated", "{date6}"), ("source", "primary"), ("warnings", []), ("version", 3),
    ("etag", "{sha6}"), ("locale", "en"), ("cached", False), ("owner", "{mail6}"),
)  # fmt: skip
PARAGRAPHS = (
    "Opening hours: {weekday6} from {time6}. Closed on public holidays.",
    "Prices include tax. Errors and omissions excepted.",
    "Previous | 1 | 2 | 3 | Next",
    "Contact: {mail6}, {phone6}. We answer within two working days.",
    "This text was last changed on {date6} by {person6}; older versions are in the archive.",
    "In {city6}, {count6} people took part in a first round about {topic6}. Their answers were "
    "collected by {first6} and will be discussed at the next meeting, together with the open "
    "points "
    "of the last one. Minutes are sent to everybody who signs the list.",
    "Terms of use | Privacy | Imprint",
    "{person6} asked whether {topic6} can wait. It was agreed to look at it again on {date6}, when "
    "the figures are there, and to leave everything as it is until then.",
    "You are seeing the short view. Switch to the full view to see attachments.",
    "Related: {topic6}, notes from {city6}, questions and answers, a list of names.",
    "---\nSent from a shared mailbox. Replies are read by {count6} people.",
    "Table 1. Costs by month, in EUR: Jan {amount6}, Feb {amount}, Mar {amount2}. The rest of the "
    "year is an estimate that {first6} made on {date6}.",
)


def padded(result: Any, draw: Draw, paragraphs: Sequence[str]) -> Any:
    """The result, sometimes with more around it."""
    if not draw.chance(_SHARE):
        return result
    if isinstance(result, str):
        if not result.strip() or draw.chance(0.5):
            return result
        before, after = draw.below(2), draw.between(1, 3)
        found = draw.some(paragraphs, before + after)
        return "\n".join([*found[:before], result, *found[before:]])
    more = dict(draw.some(_KEYS, draw.between(1, 4)))
    return {**result, **more} if isinstance(result, Mapping) else {"items": result, **more}
