"""The three questions of a diagnosis, and the labels that answer them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Setting = Literal["base", "claw", "codex", "own"]


class Dimension(StrEnum):
    """What a diagnosis asks about an unsafe trajectory."""

    RISK_SOURCE = "risk_source"  # where the risk came from
    FAILURE_MODE = "failure_mode"  # how the agent failed
    REAL_WORLD_HARM = "real_world_harm"  # what harm follows


@dataclass(frozen=True, slots=True)
class Label:
    """One answer of a dimension.

    id: a stable name for programs. text: what a guard prints. gist: what it means, in our words.
    setting: where it was introduced: the base taxonomy, one for personal assistants (claw) or for
    coding agents (codex), or a file of one's own. aliases: further spellings of `text`.
    """

    dimension: Dimension
    id: str
    text: str
    gist: str
    group: str = ""
    setting: Setting = "base"
    aliases: tuple[str, ...] = ()
