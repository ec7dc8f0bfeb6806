"""The conversations that are kept, by key, and which of them knows most of a list."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from stepguard.conversations.content import (
    Blocked,
    Digest,
    Item,
    Recent,
    of_profile,
    placed,
)
from stepguard.conversations.kept import Kept
from stepguard.conversations.line import Line, Place
from stepguard.errors import PromptError, TokenizerError, TrajectoryError
from stepguard.guard import Guard
from stepguard.messages import Entry, ToolCall, calls_of, read_messages, tools_text
from stepguard.prompt import Step

_RECENT = 8  # turns of a conversation that can be decided about
_BLOCKED = 1024  # calls of one conversation that are remembered as blocked
_PLACES = 8192  # and of all together


class UnreadableError(Exception):
    """The profile cannot be rendered."""


@dataclass(eq=False)
class Slot:
    """What belongs to a key. asked: the turns that were judged last. tools: the text of the tools
    that were named last."""

    line: Line = field(default_factory=Line)
    kept: Kept | None = None
    items: tuple[Item, ...] = ()
    asked: deque[Item] = field(default_factory=lambda: deque(maxlen=_RECENT))
    owed: deque[Step] = field(default_factory=deque)
    profile: str = ""
    tools: str = ""

    def owe(self, messages: object) -> None:
        """A step that came alone and whose turn did not come in time is read with the next call."""
        if isinstance(messages, Step):
            self.owed.append(messages)

    def place_of(self, call: ToolCall) -> tuple[Item, int]:
        """Where a call stands in the turns that were judged last. Raises TrajectoryError."""
        for item in reversed(tuple(self.asked)):
            for index, one in enumerate(item.entry.calls):
                if one.id == call.id and one.text == call.text:
                    return item, index
        expected = "a call of a turn that was judged lately"
        raise TrajectoryError("calls", expected=expected, got=f"another, of {call.name!r}"[:80])

    def read(self, messages: object, tools: object) -> tuple[str, list[Item]]:
        """The profile and the steps; a step alone goes behind those that the key has.

        Raises TrajectoryError.
        """
        if tools is not None:
            self.tools = tools_text(tools)
        if isinstance(messages, Step):
            self.profile = self.profile or self.tools
            found = list(self.items)
            for step in (*self._late(), messages):
                before = found[-1].after if found else of_profile(self.profile)
                found.append(Item(Entry(step, calls_of(step), len(found)), before))
            return self.profile, found
        self.owed.clear()
        read = read_messages(messages)
        self.profile = "\n\n".join(text for text in (read.profile, self.tools) if text)
        return self.profile, placed(of_profile(self.profile), read.entries)

    def _late(self) -> list[Step]:
        return [self.owed.popleft() for _ in range(len(self.owed))]

    def let_go(self) -> None:
        """Lets go of what was read."""
        if self.kept is not None:
            self.kept.close()
            self.kept = None


class Slots:
    """Threads may share it."""

    def __init__(
        self, guard: Guard, *, window: Literal["strict", "window"], most: int, diagnose: bool
    ) -> None:
        self._guard, self._window, self._most, self._diagnose = guard, window, most, diagnose
        self._slots: OrderedDict[str, Slot] = OrderedDict()
        self._lock = threading.Lock()
        self._places = Recent(_PLACES)

    def __len__(self) -> int:
        return len(self._slots)

    def enter(self, key: str) -> tuple[Slot, Place]:
        """The key's slot, and a place in its line."""
        if not isinstance(key, str):
            raise TypeError(f"key: expected a string, got {type(key).__name__}")
        self._guard.check_process()
        with self._lock:
            slot = self._slots.setdefault(key, Slot())
            self._slots.move_to_end(key)
            place = slot.line.join()
        slot.line.call()
        return slot, place

    def leave(self, slot: Slot, place: Place) -> None:
        """Lets the next one of the key come; who was not used for longest goes."""
        slot.line.leave(place)
        with self._lock:
            idle = [name for name, one in self._slots.items() if len(one.line) == 0]
            names = idle[: max(0, len(self._slots) - self._most)]
            old = [self._slots.pop(name) for name in names]
        for one in old:
            one.let_go()

    def close(self, key: str | None) -> None:
        """Lets go of one, or of all; waits for calls that are under way."""
        with self._lock:
            keys = list(self._slots) if key is None else [key]
            slots = [slot for name in keys if (slot := self._slots.pop(name, None)) is not None]
            places = [slot.line.join() for slot in slots]
        for slot, place in zip(slots, places, strict=True):
            slot.line.call()
            place.wait(-1)
            slot.let_go()
            slot.line.leave(place)

    def find(self, slot: Slot, profile: str, items: Sequence[Item]) -> tuple[Kept, list[Entry]]:
        """The conversation that knows most of these steps, and what has happened of them."""
        digest = of_profile(profile)
        blocked = slot.kept.blocked if slot.kept else Blocked(self._places, Recent(_BLOCKED))
        own = slot.kept if slot.kept is not None and slot.kept.profile == digest else None
        entries = blocked.without(items)
        if own is not None:
            _, shared = own.same(own.digests(entries))
            if shared >= len(own.marks) - 1 or shared == len(entries):
                return own, entries  # as usual: it goes on, or its last action was another one
        best, shared = self._best(digest, items, own)
        if best is None:
            best = self._begin(profile, blocked)
        elif best is not own:
            best = best.fork(shared, blocked.joined(best.blocked))
        if best is not own:
            self._replace(slot, best)
        return best, best.blocked.without(items)

    def _best(
        self, profile: bytes, items: Sequence[Item], own: Kept | None
    ) -> tuple[Kept | None, int]:
        """The conversation with a State for the longest part of these steps, and how many steps
        that is; `own` where others know no more."""
        with self._lock:
            found = [slot.kept for slot in self._slots.values() if slot.kept is not None]
        found = [kept for kept in found if kept.profile == profile and kept is not own]
        usual: list[Entry] = []
        digests: list[Digest] = []
        most, best, steps = -1, own, 0
        for kept in (*([] if own is None else [own]), *found):
            if not kept.blocked.empty:
                tokens, shared = kept.same(kept.digests(kept.blocked.without(items)))
            else:
                usual = usual or kept.blocked.without(items)
                digests = digests or kept.digests(usual)
                tokens, shared = kept.same(digests)
            if tokens > most:
                most, best, steps = tokens, kept, shared
        return best, steps

    def _begin(self, profile: str, blocked: Blocked) -> Kept:
        try:
            reading, track, follow_up = self._guard.begin(
                profile, window=self._window, diagnose=self._diagnose
            )
        except (PromptError, TokenizerError, UnicodeError) as error:
            raise UnreadableError(f"the profile: {error}") from error
        return Kept(of_profile(profile), track, reading, follow_up, blocked)

    def _replace(self, slot: Slot, kept: Kept) -> None:
        old, slot.kept = slot.kept, kept
        if old is not None:
            old.close()
