"""One turn of a model as server-sent events: Anthropic's messages and OpenAI's responses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Event = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """A call of a tool by its own name and arguments."""

    name: str
    arguments: dict[str, Any]
    namespace: str = ""
    """That of the name, in OpenAI's words."""


Calls = Sequence[str | Call]
"""What a model wants in one turn; a string is a shell command. With none it says "done"."""

_USAGE = {"input_tokens": 1, "output_tokens": 1}


def anthropic_events(number: int, calls: Calls) -> list[Event]:
    """A message with these calls, or that says "done"."""
    message: Event = {"id": f"msg_{number}", "type": "message", "role": "assistant"}
    message["model"] = "scripted"
    message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": _USAGE}
    events: list[Event] = [{"type": "message_start", "message": message}]
    for index, call in enumerate(calls):
        if isinstance(call, str):
            call = Call("Bash", {"command": call, "description": "a step"})
        use = {"type": "tool_use", "id": f"toolu_{number}_{index}", "name": call.name, "input": {}}
        said = json.dumps(call.arguments)
        events += _block(index, use, {"type": "input_json_delta", "partial_json": said})
    if not calls:
        events += _block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "done"})
    stop = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    events.append({"type": "message_delta", "delta": stop, "usage": _USAGE})
    return [*events, {"type": "message_stop"}]


def _block(index: int, block: Event, delta: Event) -> list[Event]:
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        {"type": "content_block_delta", "index": index, "delta": delta},
        {"type": "content_block_stop", "index": index},
    ]


def responses_events(number: int, calls: Calls) -> list[Event]:
    """A response with these calls, or that says "done"."""
    items = [_call(number, index, call) for index, call in enumerate(calls)]
    if not items:
        text = {"type": "output_text", "text": "done", "annotations": []}
        items = [{"type": "message", "role": "assistant", "id": "m1", "content": [text]}]
    response = {"id": f"resp_{number}", "object": "response"}
    events: list[Event] = [{"type": "response.created", "response": response}]
    for index, item in enumerate(items):
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    usage = {
        **_USAGE,
        "total_tokens": 2,
        "input_tokens_details": None,
        "output_tokens_details": None,
    }
    return [*events, {"type": "response.completed", "response": {**response, "usage": usage}}]


def _call(number: int, index: int, call: str | Call) -> Event:
    if isinstance(call, str):
        call = Call("exec_command", {"cmd": call})
    found = {
        "type": "function_call",
        "id": f"fc_{number}_{index}",
        "call_id": f"call_{number}_{index}",
        "name": call.name,
        "arguments": json.dumps(call.arguments),
    }
    return {**found, "namespace": call.namespace} if call.namespace else found
