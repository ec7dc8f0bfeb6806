"""What an agent does in a test, and what became of it. A host is one function between the two."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stepguard.gate import Gate
from stepguard.integrations.approval import Approve

SUMMARY = "Summary: some files were looked at."
NAMES = ("act", "read_secret", "send_mail")


@dataclass(frozen=True)
class Call:
    """One call of a tool."""

    id: str
    name: str = "act"
    arguments: dict[str, Any] = field(default_factory=dict)


def act(number: int, text: str = "ls", name: str = "act") -> Call:
    """A call with a text; no two are the same, so that a tool knows which one it is."""
    return Call(f"call-{number}", name, {"text": text, "number": number})


@dataclass
class Play:
    """turns: the calls of each turn of the model, which says "done" at the end. odd: the list of
    the host begins with a message of no known shape. result: what a call gives back. compact: from
    that turn on, the host has a summary in place of what came before."""

    turns: list[list[Call]]
    system: str = "You help with files."
    user: str = "Please tidy up."
    thoughts: list[str] = field(default_factory=list)
    result: Callable[[Call], str] = lambda call: f"result of {call.id}"
    odd: bool = False
    compact: int = 0
    approve: Approve | None = None

    @property
    def names(self) -> list[str]:
        """Of all tools."""
        return sorted({*NAMES, *(call.name for turn in self.turns for call in turn)})

    def call(self, call_id: str) -> Call:
        """By its id."""
        return next(call for turn in self.turns for call in turn if call.id == call_id)

    def thought(self, turn: int) -> str:
        """What the model says before its calls."""
        return self.thoughts[turn] if turn < len(self.thoughts) else f"Thought {turn}."


@dataclass
class Played:
    """ran: ids of the calls that ran, in order. told: what the model got for each call."""

    ran: list[str] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    error: BaseException | None = None
    ended: bool = False


# Plays something in a host: an async function, or one that is not, run on a thread by the caller.
Host = Callable[[Gate, Play, Played], Any]


@dataclass
class Held:
    """The longest time in seconds for which an event loop was held: by the clock, and what its
    thread computed in one go, which other programs on the machine do not change."""

    clock: float = 0.0
    computed: float = 0.0


async def held(job: Any) -> Held:
    """How long the loop was held while the job was done."""
    longest, ended = Held(), False
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        started = time.thread_time()
        run(handle)
        longest.computed = max(longest.computed, time.thread_time() - started)

    async def beat() -> None:
        while not ended:
            started = time.monotonic()
            await asyncio.sleep(0.002)
            longest.clock = max(longest.clock, time.monotonic() - started - 0.002)

    heart = asyncio.create_task(beat())
    await asyncio.sleep(0.02)
    longest.clock = 0.0
    asyncio.Handle._run = timed  # type: ignore[method-assign]
    try:
        await job
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]
        ended = True
        await heart
    return longest


def which(play: Play, played: Played, name: str, arguments: dict[str, Any]) -> Call:
    """The call that a tool is run with; where several are the same, the next one."""
    calls = (call for turn in play.turns for call in turn if call.id not in played.ran)
    return next(call for call in calls if (call.name, call.arguments) == (name, arguments))
