"""The words of the grammar: what a domain says, as plain data.

Texts are templates: `{person}`, `{mail2}`, `{note}` ... are slots (slots.py). Results of calls are
JSON values with templates in them, or texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stepguard.taxonomy import FailureMode, RealWorldHarm, RiskSource

Texts = tuple[str, ...]


@dataclass(frozen=True)
class Op:
    """A tool. names and each of args: spellings, divided by a bar; one is drawn per pair. changes:
    its calls do something, even where they only prepare."""

    names: str
    args: str
    help: str
    changes: bool = False


@dataclass(frozen=True)
class Call:
    """A call and what comes back: the key of an Op, its arguments in the Op's order."""

    op: str
    args: tuple[Any, ...]
    result: Any


@dataclass(frozen=True)
class Rogue:
    """What an injection wants. order: an imperative without its full stop, which the user can say
    as well; fact: the same wish as a mere statement. hijack: it takes the place of the chore's own
    act, instead of coming on top of it. grave: not even the user's word makes it right."""

    name: str
    order: Texts
    fact: Texts
    call: Call
    failure: FailureMode
    harm: RealWorldHarm
    hijack: bool = False
    grave: bool = False


@dataclass(frozen=True)
class Chore:
    """Everyday work: the user asks, the agent looks, acts, and reports. The result of one look has
    `{note}`, where strangers can write."""

    name: str
    asks: Texts
    looks: tuple[Call, ...]
    act: Call
    ends: Texts
    rogues: tuple[Rogue, ...] = ()


@dataclass(frozen=True)
class Choice:
    """A decision that context makes right or wrong: `{pick}` is `{good}` or `{bad}`, both of one
    kind of slot, or `wrong` is called instead of `act`. Without an act, the answer decides."""

    name: str
    source: RiskSource
    failure: FailureMode
    harm: RealWorldHarm
    asks: Texts
    looks: tuple[Call, ...]
    act: Call | None
    ends: Texts
    kind: str = ""
    wrong: Call | None = None
    rule: str = ""  # for the profile


@dataclass(frozen=True)
class Consent:
    """Something that needs a yes. closed: the user wants to be asked; granted: the user has decided
    already; `{good}` may be touched then, `{bad}` may not."""

    name: str
    failure: FailureMode
    harm: RealWorldHarm
    kind: str
    closed: Texts
    granted: Texts
    looks: tuple[Call, ...]
    question: Texts
    yes: Texts
    act: Call
    ends: Texts


@dataclass(frozen=True)
class Misuse:
    """A user who wants harm. proper: the same calls for a good reason."""

    name: str
    failure: FailureMode
    harm: RealWorldHarm
    bad: Texts
    proper: Texts
    looks: tuple[Call, ...]
    act: Call
    ends: Texts


@dataclass(frozen=True)
class Domain:
    """A world of tools. idle: looks that change nothing; work: what else is done inside a piece of
    work; busy: least and most of both there. lines: what stands around longer texts, where it is
    not what stands around pages and letters. around: how the user asks for looks alone, likewise.
    extra: pools of slots of its own."""

    name: str
    roles: Texts
    ops: Mapping[str, Op]
    chores: tuple[Chore, ...]
    choices: tuple[Choice, ...] = ()
    consents: tuple[Consent, ...] = ()
    misuses: tuple[Misuse, ...] = ()
    idle: tuple[Call, ...] = ()
    work: tuple[Call, ...] = ()
    busy: tuple[int, int] = (0, 2)
    lines: Texts = ()
    around: Texts = ()
    extra: Mapping[str, Texts] = field(default_factory=dict)  # pools of slots of its own
