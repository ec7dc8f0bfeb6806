"""LangChain's messages: objects, read by their attributes, and their three forms as dicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepguard.errors import TrajectoryError
from stepguard.messages.values import empty, kind

_ROLES = {
    "human": "user",
    "ai": "assistant",
    "system": "system",
    "developer": "developer",
    "tool": "tool",
    "function": "function",
    "chat": "",
}
_KEYS = ("content", "tool_calls", "invalid_tool_calls", "additional_kwargs", "role", "tool_call_id")
# Of what providers say beside, the only keys that hold content which stands nowhere else.
_BESIDE = ("reasoning_content", "refusal", "function_call", "audio")
EXPECTED = "a LangChain message of the type 'human', 'ai', 'system', 'tool', 'function' or 'chat'"


def _type(name: object) -> str:
    """`AIMessageChunk` and `AIMessage` are `ai`."""
    if not isinstance(name, str):
        return ""
    return name.removesuffix("Chunk").removesuffix("Message").lower() if "Message" in name else name


def is_langchain(message: object) -> bool:
    """Whether it is one of LangChain's messages, in whatever form."""
    if not isinstance(message, Mapping):
        named = _type(getattr(message, "type", None))
        return hasattr(message, "content") and (named in _ROLES or named == "remove")
    if message.get("type") == "constructor" and isinstance(message.get("kwargs"), Mapping):
        return True
    if "role" in message and message.get("type") != "chat":
        return False
    if "content" not in message and "data" not in message:
        return False
    return _type(message.get("type")) in (*_ROLES, "remove")


def as_message(message: object, where: str) -> dict[str, Any]:
    """The same as a message with a role. Raises TrajectoryError for what cannot be one."""
    fields = _fields(message, where)
    named = _type(fields.get("type"))
    role = fields.get("role") if named == "chat" else _ROLES.get(named)
    if not isinstance(role, str):
        got = f"the type {named!r}"[:80] if named else kind(message)
        raise TrajectoryError(where, expected=EXPECTED, got=got)
    found = {"role": role, "content": fields.get("content")}
    for key in ("tool_calls", "invalid_tool_calls", "tool_call_id"):
        if not empty(fields.get(key)):
            found[key] = fields[key]
    beside = fields.get("additional_kwargs")
    if isinstance(beside, Mapping):
        given = {key: beside[key] for key in _BESIDE if not empty(beside.get(key))}
        if "tool_calls" in found:
            given.pop("function_call", None)
        found.update(given)
    return found


def _fields(message: object, where: str) -> Mapping[str, Any]:
    if not isinstance(message, Mapping):
        found = {key: getattr(message, key, None) for key in _KEYS}
        return {"type": getattr(message, "type", None), **found}
    if message.get("type") == "constructor":
        kwargs, names = message["kwargs"], message.get("id")
        last = names[-1] if isinstance(names, list) and names else None
        return {"type": last, **kwargs}
    data = message.get("data")
    if isinstance(data, Mapping) and "content" not in message:
        return {**data, "type": message["type"]}
    return message
