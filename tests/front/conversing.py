"""Message lists for tests, and what a fresh guard says of them."""

from __future__ import annotations

import functools
import json
from typing import Any

from stepguard import Guard
from stepguard.conversations import Conversations
from stepguard.taxonomy import Turn
from tests.front.fakes import FakeEngine, make_guard

Message = dict[str, Any]


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def call(name: str, number: int, **arguments: Any) -> Message:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call-{number}", "type": "function", "function": function}


def agent(text: str, *calls: Message) -> Message:
    return {"role": "assistant", "content": text, "tool_calls": list(calls)}


def result(number: int, text: str) -> Message:
    return {"role": "tool", "tool_call_id": f"call-{number}", "content": text}


def talk(turns: int, seed: str = "") -> list[Message]:
    """A system message, a user, and that many calls, each but the last with its result."""
    messages = [{"role": "system", "content": "Be good."}, user(f"Please {seed}")]
    for n in range(turns):
        messages.append(agent(f"Thought {n}{seed}", call("act", n, x=n)))
        messages.append(result(n, f"result {n}"))
    return messages[:-1]


@functools.cache
def _other_guard() -> Guard:
    return make_guard(FakeEngine())


def fresh(messages: list[Message], calls: Any = None, **options: Any) -> Turn:
    """What a guard says that has never seen anything."""
    with Conversations(_other_guard(), **options) as conversations:
        return conversations.check("fresh", messages, calls)
