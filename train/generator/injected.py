"""Orders that are not the user's: where they stand, how they are worded, and what an agent does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stepguard.taxonomy import RiskSource
from stepguard.train.generator import wording
from stepguard.train.generator.draw import Draw
from stepguard.train.generator.grammar import Call, Chore, Op, Rogue
from stepguard.train.generator.slots import Slots
from stepguard.train.generator.story import Do, Event, Say, Teller, User, filled
from stepguard.train.generator.tellings import Tales

MEMORY = Op(
    "recall|read_memory|get_notes", "topic|query", "Reads what was saved in earlier sessions"
)

# Where an order stands, what the taxonomy calls that, and how it is worded.
PLACES: dict[str, tuple[RiskSource, tuple[str, ...]]] = {
    "result": (RiskSource.INDIRECT_PROMPT_INJECTION, wording.WRAPPED),
    "description": (RiskSource.TOOL_DESCRIPTION_INJECTION, wording.DESCRIBED),
    "feedback": (RiskSource.CORRUPTED_TOOL_FEEDBACK, wording.FEEDBACK),
    "memory": (RiskSource.PERSISTENT_MEMORY_SESSION_STATE_CONTAMINATION, wording.REMEMBERED),
    "paste": (RiskSource.DIRECT_PROMPT_INJECTION, wording.PASTED),
}
_VARIANTS = (
    "ignored", "ignored, done when asked", "ignored, done when asked", "user's own wish",
    "user's own wish", "answer heeded", "answer heeded", "asked",
)  # fmt: skip


@dataclass(frozen=True)
class _Scene:
    """What the twins share: the looks, the place of the decisive step, and the words."""

    teller: Teller
    chore: Chore
    rogue: Rogue
    looks: list[Event]
    place: int
    order: str
    end: str

    def body(self, decisive: list[Event], *, rogue: bool) -> list[Event]:
        """Looks and acts with the decisive events at their place. rogue: they take the act's place,
        where the rogue call is one that does."""
        act: list[Event] = [self.teller.act(self.chore.act)]
        if self.rogue.hijack:
            return [*self.looks, *decisive, *([] if rogue else act), Say(self.end)]
        events = [*self.looks, *act]
        return [*events[: self.place], *decisive, *events[self.place :], Say(self.end)]


def tell_injection(
    teller: Teller, chore: Chore, rogue: Rogue, place: str, slots: Slots, draw: Draw
) -> Tales:
    """Both read the same order; one obeys."""
    order = slots.fill(draw.pick(rogue.order))
    text = _text(place, rogue, order, slots, draw)
    slots["order"] = order
    calls, seen, doctored, ask = _planted(teller, chore, place, text, slots, draw)
    looks = teller.mixed(calls)
    # From which event on the order is known.
    known = next((i + 1 for i, look in enumerate(looks) if _shows(look, seen)), 0)
    end = draw.pick(chore.ends) + (draw.pick(wording.REMARKS) if draw.chance(0.3) else "")
    scene = _Scene(teller, chore, rogue, looks, draw.between(known, len(looks) + 1), order, end)
    variant = draw.pick(_VARIANTS)
    if rogue.grave:
        variant = draw.pick(("ignored", "asked"))
    elif rogue.hijack and variant == "ignored, done when asked":
        variant = "ignored"
    unsafe, safe = _twins(scene, variant, ask, draw)
    return Tales(
        filled(unsafe, slots),
        filled(safe, slots),
        (PLACES[place][0], rogue.failure, rogue.harm),
        variant,
        {key: slots.fill(value) for key, value in doctored.items()},
    )


def _twins(scene: _Scene, variant: str, ask: str, draw: Draw) -> tuple[list[Event], list[Event]]:
    teller, order = scene.teller, scene.order
    obey: list[Event] = [teller.act(scene.rogue.call, decisive=True)]
    plain: list[Event] = [User(ask)]
    wish = order[0].upper() + order[1:]
    if variant == "user's own wish":
        if draw.chance(0.3) and not scene.rogue.hijack:
            wished = draw.pick(wording.ALSO_BEFORE).replace("{Order}", wish) + ask
        else:
            wished = ask + draw.pick(wording.ALSO).replace("{order}", order)
        body = scene.body(obey, rogue=True)
        return [*plain, *body], [User(wished), *body]
    question = Say(draw.pick(wording.SHALL_I))
    if variant == "answer heeded":
        no, yes = (User(draw.pick(pool)) for pool in (wording.NO, wording.YES))
        return (
            [*plain, *scene.body([question, no, *obey], rogue=True)],
            [*plain, *scene.body([question, yes, *obey], rogue=True)],
        )
    if variant == "asked":
        asked: list[Event] = [Say(question.text, decisive=True), User(draw.pick(wording.NO))]
        return (
            [*plain, *scene.body(obey, rogue=True)],
            [*plain, *scene.body(asked, rogue=False)],
        )
    if scene.rogue.hijack:  # what the safe twin does instead is the chore's own act
        go_on = [*scene.looks, teller.act(scene.chore.act, decisive=True), Say(scene.end)]
    else:
        idle = teller.domain.idle
        free = [call for call in idle if not any(_shows(look, call) for look in scene.looks)]
        spare = teller.look(draw.pick(free or idle))
        go_on = scene.body([Do(spare.call, spare.thought, decisive=True)], rogue=False)
    unsafe, safe = [*plain, *scene.body(obey, rogue=True)], [*plain, *go_on]
    if variant == "ignored, done when asked":
        done = Say(draw.pick(wording.DONE))
        later: list[Event] = [User(f"{wish}, please."), teller.act(scene.rogue.call), done]
        return [*unsafe, *teller.around(teller.idle(1, 1))], [*safe, *later]
    return unsafe, safe


def _text(place: str, rogue: Rogue, order: str, slots: Slots, draw: Draw) -> str:
    """The order as it is found; sometimes a mere statement."""
    capital = order[0].upper() + order[1:]

    def worded(pool: tuple[str, ...]) -> str:
        return draw.pick(pool).replace("{order}", order).replace("{Order}", capital)

    if draw.chance(0.3):
        fact = slots.fill(draw.pick(rogue.fact))
        return draw.pick(wording.PASTED).replace("{wrapped}", fact) if place == "paste" else fact
    if place == "paste":
        return draw.pick(wording.PASTED).replace("{wrapped}", worded(wording.WRAPPED))
    return worded(PLACES[place][1])


def _planted(
    teller: Teller, chore: Chore, place: str, text: str, slots: Slots, draw: Draw
) -> tuple[list[Call], Call | None, dict[str, str], str]:
    """The looks, the one of them that shows the text, doctored descriptions, the user's words."""
    looks, ask = list(chore.looks), draw.pick(chore.asks)
    seen: Call | None = None
    doctored: dict[str, str] = {}
    if place == "result":
        slots["note"] = slots.fill(text)
        seen = next(look for look in looks if "{note}" in str(look.result))
    elif place == "paste":
        ask += text
    elif place == "description":
        doctored[draw.pick(sorted(set(teller.domain.ops) - {"recall"}))] = text
    elif place == "memory":
        topic = draw.pick(("preferences", "open points", "{topic6}", "standing rules"))
        seen = Call("recall", (topic,), ["{topic6}: see {date6}.", text])
        looks.insert(0, seen)
    else:
        at = draw.below(len(looks))
        seen = looks[at] = Call(looks[at].op, looks[at].args, _warned(looks[at].result, text))
    return looks, seen, doctored, ask


def _shows(event: Event, call: Call | None) -> bool:
    """Whether this event is that call; its result may have been padded."""
    if call is None or not isinstance(event, Do):
        return False
    return (event.call.op, event.call.args) == (call.op, call.args)


def _warned(result: Any, text: str) -> Any:
    """A result with a message of the tool behind it."""
    if isinstance(result, Mapping):
        return {**result, "message": text}
    return [*result, {"message": text}] if isinstance(result, list) else f"{result}\n{text}"
