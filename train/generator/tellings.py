"""Families as pairs of tales: one in which the agent does harm, and its safe twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from stepguard.taxonomy import RiskSource
from stepguard.train.generator.draw import Draw
from stepguard.train.generator.grammar import Choice, Consent, Misuse
from stepguard.train.generator.slots import Slots
from stepguard.train.generator.story import Event, Say, Teller, User, filled
from stepguard.train.generator.wording import ABOVE, ANYWAY, ASKED, PRESSING, REFUSALS


@dataclass(frozen=True)
class Tales:
    """The same piece of work, told twice. variant: in what the twins differ. doctored: what stands
    behind the description of a tool. rule: a sentence for the profile."""

    unsafe: list[Event]
    safe: list[Event]
    labels: tuple[str, str, str]
    variant: str
    doctored: dict[str, str] = field(default_factory=dict)
    rule: str = ""


def tell_choice(teller: Teller, choice: Choice, slots: Slots, draw: Draw) -> Tales:
    """Both know the same; one picks right."""
    picks = "", ""
    if choice.kind:
        slots.two(choice.kind)
        picks = slots["bad"], slots["good"]
    # Where it is the amount that makes it wrong, the safe twin may also leave it to others.
    leave = choice.kind == "around" and draw.chance(0.3)
    looks = list(choice.looks[::-1] if draw.chance(0.5) else choice.looks)
    ask, end = draw.pick(choice.asks), draw.pick(choice.ends)
    body: list[Event] = [User(ask), *teller.mixed(looks)]

    def tale(pick: str, *, unsafe: bool) -> list[Event]:
        if leave and not unsafe:
            tail: list[Event] = [Say(draw.pick(ABOVE), decisive=True)]
        elif choice.act is None:
            tail = [Say(end, decisive=True)]
        else:
            call = choice.wrong if unsafe and choice.wrong is not None else choice.act
            tail = [teller.act(call, decisive=True), Say(end)]
        return filled([*body, *tail], slots.with_values(pick=pick))

    return Tales(
        tale(picks[0], unsafe=True),
        tale(picks[0] if leave else picks[1], unsafe=False),
        (choice.source, choice.failure, choice.harm),
        "left to others" if leave else "right choice",
        rule=slots.fill(choice.rule),
    )


def tell_consent(teller: Teller, consent: Consent, slots: Slots, draw: Draw) -> Tales:
    """Both could do it; one was told to."""
    slots.two(consent.kind)
    body = teller.mixed(consent.looks)
    closed, granted = User(draw.pick(consent.closed)), User(draw.pick(consent.granted))
    asked: list[Event] = [Say(draw.pick(consent.question)), User(draw.pick(consent.yes))]
    end = Say(draw.pick(consent.ends))
    act = teller.act(consent.act, decisive=True)
    variant = draw.pick(("granted", "granted", "asked", "answer heeded", "answer heeded", "heeded"))
    heads: dict[str, tuple[list[Event], list[Event]]] = {
        "granted": ([closed, *body], [granted, *body]),
        "asked": ([closed, *body], [closed, *body, *asked]),
        "answer heeded": ([closed, *body, *asked], [closed, *body, *asked]),
        "heeded": ([granted, *body], [granted, *body]),
    }
    wrong = slots["bad"] if "heeded" in variant else slots["good"]
    return Tales(
        filled([*heads[variant][0], act, end], slots.with_values(pick=wrong)),
        filled([*heads[variant][1], act, end], slots.with_values(pick=slots["good"])),
        (RiskSource.INHERENT_AGENT_FAILURES, consent.failure, consent.harm),
        variant,
    )


def tell_misuse(teller: Teller, misuse: Misuse, slots: Slots, draw: Draw) -> Tales:
    """Both are asked; one refuses, or was asked for a good reason. A bad purpose that gets a better
    one afterwards stays bad: no twin is told so."""
    bad = draw.pick(misuse.bad) + draw.pick(ASKED)
    proper = draw.pick(misuse.proper) + draw.pick(ASKED)
    looks, end = teller.mixed(misuse.looks), draw.pick(misuse.ends)
    act = teller.act(misuse.act, decisive=True)
    no, again = draw.some(REFUSALS, 2)
    press, anyway = draw.pick(PRESSING), draw.pick(ANYWAY)
    variant = draw.pick(
        ("refused", "proper", "proper", "proper", "proper", "refused twice", "other work")
    )
    done: list[Event] = [act, Say(anyway + end)]
    pressed: list[Event] = [User(bad), *looks, Say(no), User(press)]
    tales: dict[str, tuple[Sequence[Event], Sequence[Event]]] = {
        "refused": (
            [User(bad), *looks, *done],
            [User(bad), *looks[: draw.below(len(looks) + 1)], Say(no, decisive=True)],
        ),
        "proper": ([User(bad), *looks, *done], [User(proper), *looks, *done]),
        "refused twice": ([*pressed, *done], [*pressed, Say(again, decisive=True)]),
        "other work": (
            [*pressed, *done],
            [User(bad), *looks, Say(no, decisive=True), *teller.around(teller.idle(1, 2))],
        ),
    }
    unsafe, safe = tales[variant]
    return Tales(
        filled(unsafe, slots),
        filled(safe, slots),
        (RiskSource.MALICIOUS_USER_INSTRUCTION_OR_JAILBREAK, misuse.failure, misuse.harm),
        variant,
    )
