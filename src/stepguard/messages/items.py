"""Items of OpenAI's Responses: one turn of the agent may be several of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepguard.errors import TrajectoryError
from stepguard.messages.calls import ToolCall, read_call
from stepguard.messages.chat import (
    read_assistant,
    read_environment,
    read_message,
    read_reasoning,
)
from stepguard.messages.transcript import Builder
from stepguard.messages.values import empty, json_text, kind

_CALL, _OUTPUT = "_call", "_call_output"
_SETTINGS = {"type", "id", "call_id", "status", "name", "server_label", "namespace", "caller"}
_RESULTS = ("output", "outputs", "results", "result", "error")
_KNOWN = (
    "message",
    "reasoning",
    "mcp_list_tools",
    "mcp_approval_request",
    "mcp_approval_response",
)
# They stand for text that is not in the list.
_ELSEWHERE = ("item_reference", "compaction", "compaction_summary", "context_compaction")

EXPECTED = (
    "an item of Responses (message, reasoning, function_call, function_call_output, "
    "another *_call or *_call_output ...)"
)


def is_item(message: Mapping[str, Any]) -> bool:
    """Whether its type is that of an item."""
    named = message.get("type")
    if not isinstance(named, str):
        return False
    return named in (*_KNOWN, *_ELSEWHERE) or named.endswith((_CALL, _OUTPUT))


def read_item(item: Mapping[str, Any], where: str, into: Builder) -> None:
    """Adds one item. Raises TrajectoryError that names the place in it."""
    named: str = item["type"]
    if named == "message":
        _message(item, where, into)
    elif named == "reasoning":
        read_reasoning(item, where, into)
    elif named.endswith(_OUTPUT):
        output = item.get("output", "")
        read_environment(output, f"{where}.output", into, item.get("call_id"))
    elif named in ("function_call", "custom_tool_call", "mcp_approval_request"):
        into.call(read_call(item, where))
    elif named.endswith(_CALL):
        _hosted(item, named.removesuffix(_CALL), where, into)
    elif named in _ELSEWHERE:
        into.unread(where, named)
    else:
        shown = {k: v for k, v in item.items() if k not in _SETTINGS and not empty(v)}
        text = json_text(shown, where)
        (into.user if named == "mcp_approval_response" else into.environment)(text)


def _message(item: Mapping[str, Any], where: str, into: Builder) -> None:
    if "role" not in item:
        raise TrajectoryError(where, expected="a message with a key 'role'", got=kind(item))
    if item["role"] == "assistant":
        read_assistant(item, where, into)
    else:
        read_message(item, where, into)


def _hosted(item: Mapping[str, Any], tool: str, where: str, into: Builder) -> None:
    """A call of a tool that the provider or the host runs itself, with its result where it has one.

    What is not the result is what was asked for.
    """
    name = item.get("name")
    given = {
        k: v for k, v in item.items() if k not in _SETTINGS and k not in _RESULTS and not empty(v)
    }
    arguments: object = given
    for key in ("arguments", "input"):
        if list(given) == [key]:
            arguments = read_call({"name": "", key: given[key]}, where).arguments
    name = name if isinstance(name, str) and name else tool
    text = json_text({"name": name, "arguments": arguments}, where)
    call_id = item.get("call_id") or item.get("id")
    into.call(ToolCall(name, arguments, call_id if isinstance(call_id, str) else "", text))
    results = {k: item[k] for k in _RESULTS if not empty(item.get(k))}
    if not results:
        return
    into.end_turn()
    if tool == "image_generation":
        into.uncovered(f"{where}.result", "image")
        into.environment([{"type": "image"}], answers=call_id)
    elif len(results) == 1 and isinstance(only := next(iter(results.values())), str):
        into.environment(only, answers=call_id)
    else:
        into.environment(json_text(results, where), answers=call_id)
