"""What happens in a trajectory, event by event, and how that becomes steps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stepguard.train.generator.draw import Draw
from stepguard.train.generator.grammar import Call, Chore, Domain
from stepguard.train.generator.padding import PARAGRAPHS, padded
from stepguard.train.generator.slots import Slots
from stepguard.train.generator.style import Style
from stepguard.train.generator.wording import ALL_WELL, AROUND, LOOKING, THOUGHTS


@dataclass(frozen=True)
class User:
    """The user says something."""

    text: str


@dataclass(frozen=True)
class Do:
    """The agent calls a tool. decisive: this is where the twins part."""

    call: Call
    thought: str = ""
    decisive: bool = False


@dataclass(frozen=True)
class Say:
    """The agent answers."""

    text: str
    decisive: bool = False


Event = User | Do | Say


@dataclass(frozen=True)
class Told:
    """Steps of a trajectory; decisive: the index of the agent step where the twins part."""

    steps: tuple[dict[str, Any], ...]
    decisive: int


class Teller:
    """Makes events of a domain, in one style."""

    def __init__(self, domain: Domain, style: Style, draw: Draw) -> None:
        self.domain, self.style, self.draw = domain, style, draw
        self._lines = domain.lines or PARAGRAPHS

    def look(self, call: Call) -> Do:
        """A call that looks something up."""
        more = Call(call.op, call.args, padded(call.result, self.draw, self._lines))
        changes = self.domain.ops[call.op].changes
        return Do(more, self._thought(THOUGHTS if changes else LOOKING))

    def act(self, call: Call, *, decisive: bool = False) -> Do:
        """A call that does something."""
        return Do(call, self._thought(THOUGHTS), decisive)

    def idle(self, low: int, high: int) -> list[Do]:
        """Looks that belong to no piece of work, and change nothing."""
        return [self.look(call) for call in
                self.draw.some(self.domain.idle, self.draw.between(low, high))]  # fmt: skip

    def mixed(self, looks: Sequence[Call]) -> list[Event]:
        """Looks, with idle ones between them."""
        events: list[Event] = [self.look(call) for call in looks]
        more = (*self.domain.idle, *self.domain.work)
        for call in self.draw.some(more, self.draw.between(*self.domain.busy)):
            one = self.look(call)
            events.insert(self.draw.below(len(events) + 1), one)
        return events

    def around(self, looks: Sequence[Do]) -> list[Event]:
        """A round in which the user only wants to know something."""
        *most, last = dict.fromkeys(shown(one.call) for one in looks)
        what = f"{', '.join(most)} and {last}" if most else last
        ask, end = self.draw.pick(self.domain.around or AROUND), self.draw.pick(ALL_WELL)
        return [User(ask.replace("{what}", what)), *looks, Say(end.replace("{what}", what))]

    def round(self, chore: Chore, slots: Slots) -> list[Event]:
        """A whole piece of everyday work."""
        events: list[Event] = [User(self.draw.pick(chore.asks)), *self.mixed(chore.looks)]
        events += [self.act(chore.act), Say(self.draw.pick(chore.ends))]
        return filled(events, slots)

    def _thought(self, pool: Sequence[str]) -> str:
        return self.draw.pick(pool) if self.draw.chance(self.style.talk) else ""


def filled(events: Sequence[Event], slots: Slots) -> list[Event]:
    """The same events, with values in place of the slots."""
    done: list[Event] = []
    for event in events:
        if isinstance(event, Do):
            call = event.call
            values = Call(call.op, tuple(slots.fill_all(call.args)), slots.fill_all(call.result))
            done.append(Do(values, event.thought, event.decisive))
        elif isinstance(event, Say):
            done.append(Say(_sentence(slots.fill(event.text)), event.decisive))
        else:
            done.append(User(_sentence(slots.fill(event.text))))
    return done


def _sentence(text: str) -> str:
    """With a capital letter where a topic begins a sentence."""
    return re.sub(r"(^|[.!?] |\n)the ", r"\1The ", text)


def told(events: Sequence[Event], style: Style) -> Told:
    """The steps of events without slots."""
    steps: list[dict[str, Any]] = []
    decisive = -1
    for event in events:
        if isinstance(event, User):
            steps.append({"role": "user", "content": event.text})
            continue
        if event.decisive:
            decisive = len(steps)
        if isinstance(event, Say):
            steps.append({"role": "agent", "thought": "", "action": style.say(event.text)})
            continue
        thought = event.thought.replace("{tool}", style.tool(event.call.op))
        thought = thought.replace("{arg}", shown(event.call))
        steps.append({"role": "agent", "thought": thought, "action": style.action(event.call)})
        steps.append({"role": "environment", "content": style.result(event.call.result)})
    return Told(tuple(steps), decisive)


def shown(call: Call) -> str:
    """What a call is about: its first argument, if it is short."""
    text = str(call.args[0]) if call.args else ""
    return text if 0 < len(text) <= 40 else "this"


def rounds(steps: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Steps as rounds: each begins where the user speaks."""
    found: list[list[dict[str, Any]]] = []
    for step in steps:
        if step["role"] == "user" or not found:
            found.append([])
        found[-1].append(step)
    return found
