"""Official prompt files, recognised by their sha256. Their text is not part of this project."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from stepguard.prompt.forms import AGENTDOG_1_0, AGENTDOG_1_5, Form

__all__ = ["OFFICIAL", "OfficialPrompt", "recognise", "sha256"]


@dataclass(frozen=True, slots=True)
class OfficialPrompt:
    """A prompt file of the AgentDoG repository, the form of its steps and of its answer.

    The file that fills the place `{taxonomy}` of another one has neither.
    """

    name: str
    sha256: str
    form: Form | None = None
    answer: str = ""


OFFICIAL = (
    OfficialPrompt(
        "v1.0/trajectory_binary",
        "3a8be85daabbe446644da87c2cdd48cf3fcd5b96d44d8a181117d5c3176c01df",
        AGENTDOG_1_0,
        "agentdog-1.0-binary",
    ),
    OfficialPrompt(
        "v1.0/trajectory_finegrained",
        "07159c8d03c5cecec42505b7ddcd069e1e29e84aa38f910b028eba6248cb4aa8",
        AGENTDOG_1_0,
        "agentdog-1.0-finegrained",
    ),
    OfficialPrompt(
        "v1.0/taxonomy_finegrained",
        "695ae788b1317c54140e6e360092fbf1e31454f6aadfb172d4de75abe642b68c",
    ),
    OfficialPrompt(
        "v1.5/coarse_grained_moderation",
        "9361b139f633dce3d8d4e7747eb962f2bc9c64aecca71b6d150777f5435c3937",
        AGENTDOG_1_5,
        "agentdog-1.5-coarse",
    ),
    OfficialPrompt(
        "v1.5/unified_safety_classification",
        "0a07b4a6905ae44e07e9a71ce891c8ea8e02526b5a6d5112f8593f79f00b4c31",
        AGENTDOG_1_5,
        "agentdog-1.5-unified",
    ),
)


def recognise(text: str) -> OfficialPrompt | None:
    """The official prompt whose file holds exactly this text (UTF-8), or None."""
    found = sha256(text)
    return next((prompt for prompt in OFFICIAL if prompt.sha256 == found), None)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
