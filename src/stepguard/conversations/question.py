"""One question of a host: where it stands in the line of its key, and what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stepguard.conversations.content import Item
from stepguard.conversations.line import Place
from stepguard.conversations.slots import Slot
from stepguard.messages import ToolCall
from stepguard.prompt import Step


@dataclass(eq=False)
class Question:
    """calls, tools: as the host gave them. read: whether its list was read; from then on the turn
    is known that it asks about (None for what is no action), and which calls of that turn. step:
    the last one of the list."""

    key: str
    slot: Slot
    place: Place
    calls: object = None
    tools: object = None
    left: bool = False
    read: bool = False
    turn: Item | None = None
    indices: tuple[int, ...] = ()
    step: Step | None = None

    @property
    def holds_up(self) -> bool:
        """Whether others wait behind it."""
        return len(self.slot.line) > 1

    @property
    def asked(self) -> tuple[ToolCall, ...]:
        """The calls that it asks about; none where the host named none of them."""
        if self.turn is None or self._names_none:
            return ()
        return tuple(self.turn.entry.calls[index] for index in self.indices)

    def found(self, before: Sequence[Item], turn: Item | None, indices: Sequence[int]) -> None:
        """Its list was read."""
        self.read, self.turn, self.indices = True, turn, tuple(indices)
        last = turn or (before[-1] if before else None)
        self.step = None if last is None else last.entry.step

    def blocked(self, answers: Sequence[bool]) -> tuple[int, ...]:
        """Which calls of the turn were blocked. answers: whether each call was that is asked about,
        or whether all were."""
        if self._names_none:
            return ()
        if len(answers) != len(self.indices):
            return self.indices if all(answers) else ()
        pairs = zip(self.indices, answers, strict=True)
        return tuple(index for index, blocked in pairs if blocked)

    @property
    def _names_none(self) -> bool:
        return isinstance(self.calls, list | tuple) and not self.calls
