"""Records that an adapter must not learn from if it is to be given away.

Llama models (and SecAlign and ToolACE-8B, which are built on them) bind whoever trains on their
outputs to the terms of Llama; AgentHarm is for work on safety only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from stepguard.train.records import Record

LLAMA = "the agent is a Llama model, or built on one"
AGENT_HARM = "made from AgentHarm"
UNNAMED = "the agent's model is not named"

_AGENT_KEYS = ("agent_model", "pipeline", "model")
_LLAMA_NAMES = ("llama", "secalign", "toolace")
_HARM_KEYS = ("origin", "family", "benchmark")


@dataclass(frozen=True)
class LeftOut:
    """A record that is left out, and why."""

    record: Record
    reason: str


def may_ship(
    records: Sequence[Record], *, named_only: bool = False
) -> tuple[list[Record], list[LeftOut]]:
    """Those that an adapter may be trained on that is given away, and the others.

    named_only: leave out also records whose file does not say which model the agent is, unless they
    were generated.
    """
    kept, left = [], []
    for record in records:
        reason = reason_against(record)
        if reason is None and named_only and unnamed(record):
            reason = UNNAMED
        if reason is None:
            kept.append(record)
        else:
            left.append(LeftOut(record, reason))
    return kept, left


def reason_against(record: Record) -> str | None:
    """Why it must not be trained on; None where nothing is known against it."""
    agent = (agent_of(record) or "").lower()
    if any(name in agent for name in _LLAMA_NAMES):
        return LLAMA
    said = [record.source, record.name, *(str(record.meta.get(key, "")) for key in _HARM_KEYS)]
    if any("agentharm" in text.lower() for text in said):
        return AGENT_HARM
    return None


def agent_of(record: Record) -> str | None:
    """The model of its agent, as the record names it; None where it does not."""
    names = [record.meta.get(key) for key in _AGENT_KEYS]
    return " ".join(name for name in names if isinstance(name, str) and name) or None


def counted(left: Sequence[LeftOut]) -> dict[tuple[str, str], int]:
    """(source, reason) -> how many."""
    return dict(sorted(Counter((one.record.source, one.reason) for one in left).items()))


def unnamed(record: Record) -> bool:
    """Whether a model wrote it and is not named: no model wrote what the grammar made."""
    return agent_of(record) is None and record.source != "generated"
