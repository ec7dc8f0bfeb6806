"""Messages with a role: OpenAI's chat, Anthropic's blocks, and AgentDoG's steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepguard.errors import TrajectoryError
from stepguard.messages.calls import ToolCall, read_call, read_calls
from stepguard.messages.parts import beside_text, part_text, parts_of, read_parts, type_of
from stepguard.messages.transcript import Builder
from stepguard.messages.values import empty, kind, mapping
from stepguard.prompt import Step

ROLES = "'system', 'developer', 'user', 'assistant', 'tool', 'agent' or 'environment'"
_CALLS = (
    "tool_use",
    "server_tool_use",
    "mcp_tool_use",
    "tool_call",
    "function_call",
    "server_tool_call",
    "invalid_tool_call",
)
_HIDDEN = ("redacted_thinking",)
# What a message carries beside its content and that is no content.
_SETTINGS = {
    "role", "content", "name", "id", "type", "status", "tool_call_id", "tool_calls", "refusal",
    "function_call", "audio", "annotations", "model", "stop_reason", "stop_sequence", "usage",
    "object", "phase", "cache_control", "logprobs", "response_metadata", "usage_metadata",
    "additional_kwargs", "invalid_tool_calls", "example", "artifact", "is_error", "container",
    "reasoning_content", "reasoning", "reasoning_details", "thinking", "tool_call_chunks",
    "chunk_position", "provider_specific_fields", "context_management", "stop_details", "metadata",
}  # fmt: skip
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


def read_message(message: Mapping[str, Any], where: str, into: Builder) -> None:
    """Adds one message. Raises TrajectoryError that names the place in it."""
    role = message["role"]
    if role in ("agent", "environment"):
        into.step(Step.from_dict(message, where))
        return
    if not isinstance(role, str):
        raise TrajectoryError(f"{where}.role", expected=ROLES, got=kind(role))
    if role == "assistant":
        into.end_turn()
        read_assistant(message, where, into)
        into.end_turn()
    elif role in ("system", "developer", "user", "tool", "function"):
        _read_other(role, message, where, into)
    else:
        raise TrajectoryError(f"{where}.role", expected=ROLES, got=repr(role)[:80])


def read_assistant(message: Mapping[str, Any], where: str, into: Builder) -> None:
    """What an agent says and does in one message; its turn may go on after it."""
    for key in _THOUGHTS:
        if isinstance(message.get(key), str):
            into.say(message[key])
    calls = read_calls(message.get("tool_calls"), f"{where}.tool_calls")
    calls += read_calls(message.get("invalid_tool_calls"), f"{where}.invalid_tool_calls")
    if not empty(old := message.get("function_call")):
        calls += (read_call(old, f"{where}.function_call"),)
    content = message.get("content")
    if content is not None:
        _read_blocks(parts_of(content, f"{where}.content"), calls, into)
    if isinstance(message.get("refusal"), str):
        into.say(message["refusal"])
    if not empty(message.get("audio")):
        into.unread(f"{where}.audio", "audio")
    for key in _unknown(message):
        into.unread(f"{where}.{key}", "part")
    for call in calls:
        into.call(call)


def _read_blocks(
    parts: Sequence[tuple[object, str]], calls: Sequence[ToolCall], into: Builder
) -> None:
    """Blocks of the agent in their order. `calls` stand in the message beside them, perhaps too."""
    for part, where in parts:
        named = type_of(part)
        if named in _CALLS:
            call = read_call(part, where)
            if not any(call.id == one.id and call.text == one.text for one in calls):
                into.call(call)
        elif named.endswith("_result"):  # of a tool that the provider runs itself
            _read_result(part, where, into)
        elif named in _HIDDEN:
            into.uncovered(where, "hidden reasoning", counted=False)
        elif named == "reasoning":
            read_reasoning(mapping(part, where, "reasoning"), where, into)
        elif (text := part_text(part, where)) is None:
            into.unread(where, named)
        else:
            into.say(text)
            for lost in beside_text(part, where):
                into.unread(lost.place, lost.kind)


def read_reasoning(item: Mapping[str, Any], where: str, into: Builder) -> None:
    """What is shown of a model's reasoning is said; what is hidden of it is listed."""
    if isinstance(item.get("reasoning"), str):
        into.say(item["reasoning"])
    for key in ("summary", "content"):
        if empty(item.get(key)):
            continue
        for part, place in parts_of(item[key], f"{where}.{key}"):
            text = part_text(part, place)
            if text is None:
                into.unread(place, type_of(part))
            else:
                into.say(text)
    if not empty(item.get("encrypted_content")):
        into.uncovered(f"{where}.encrypted_content", "hidden reasoning", counted=False)


def _read_result(block: object, where: str, into: Builder) -> None:
    found = mapping(block, where, "a result of a tool")
    read_environment(found.get("content", ""), f"{where}.content", into, found.get("tool_use_id"))


def read_environment(
    content: object, where: str, into: Builder, answers: object, unknown: int = 0
) -> None:
    """A tool's result; null is an empty one. unknown: keys beside it that nobody reads."""
    read = read_parts(parts_of("" if content is None else content, where))
    for lost in read.uncovered:
        into.uncovered(lost.place, lost.kind)
    into.environment(read.content, read.beside + unknown, answers)


def _read_other(role: str, message: Mapping[str, Any], where: str, into: Builder) -> None:
    counted = role not in ("system", "developer")  # the profile has no coverage
    unknown = _unknown(message)
    for key in unknown:
        into.uncovered(f"{where}.{key}", "part", counted=counted)
    if "content" not in message:
        raise TrajectoryError(where, expected="a key 'content'", got=kind(message))
    content, place = message["content"], f"{where}.content"
    if role in ("tool", "function"):
        read_environment(content, place, into, message.get("tool_call_id"), len(unknown))
        return
    parts = parts_of(content, place)
    if not counted:
        read = read_parts(parts)
        for lost in read.uncovered:
            into.uncovered(lost.place, lost.kind, counted=False)
        into.system(read.content)
        return
    run: list[tuple[object, str]] = []
    for part, at in parts:
        if type_of(part).endswith("tool_result"):
            _read_user(run, into)
            run = []
            _read_result(part, at, into)
        else:
            run.append((part, at))
    _read_user(run, into, len(unknown))


def _read_user(parts: list[tuple[object, str]], into: Builder, unknown: int = 0) -> None:
    if not parts and not unknown:
        return
    read = read_parts(parts)
    for lost in read.uncovered:
        into.uncovered(lost.place, lost.kind)
    into.user(read.content, read.beside + unknown)


def _unknown(message: Mapping[str, Any]) -> list[str]:
    """Keys that hold something which nobody reads."""
    return [str(k) for k, v in message.items() if k not in _SETTINGS and not empty(v)]
