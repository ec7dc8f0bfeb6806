"""Calls of tools: a name and arguments, whatever the host's shape of them is.

A call is printed as JSON, `{"name": ..., "arguments": ...}`, several of one turn as a list: the
form in which labelled trajectories have them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from stepguard.errors import TrajectoryError
from stepguard.messages.values import json_text, kind, listed, mapping
from stepguard.prompt import Step
from stepguard.prompt.content import Text

_EXPECTED = "a tool call (a name and arguments)"
_NAMED = re.compile(r"\s*([\w.:/-]{1,128})\s*[({]")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that an agent proposes.

    arguments: an object or list where they are JSON, else the text as it came. id: the host's, ""
    where it has none. text: the call as it is printed.
    """

    name: str
    arguments: object = field(default_factory=dict)
    id: str = ""
    text: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.text:
            made = {"name": self.name, "arguments": self.arguments}
            object.__setattr__(self, "text", json_text(made, "the tool call"))


def read_call(value: object, where: str = "call") -> ToolCall:
    """A call in the shape of OpenAI (chat or Responses), Anthropic, LangChain or AgentDoG.

    Raises:
        TrajectoryError: it is none of these; names `where`.
    """
    if isinstance(value, ToolCall):
        return value
    data = mapping(value, where, _EXPECTED)
    ids = (data.get(key) for key in ("call_id", "id", "tool_call_id"))
    named = next((i for i in ids if isinstance(i, str) and i), "")
    for key in ("function", "custom"):
        if isinstance(data.get(key), Mapping):
            data = data[key]
    name = data.get("name")
    if not isinstance(name, str):
        raise TrajectoryError(where, expected=_EXPECTED, got=kind(value))
    given = next((data[key] for key in ("arguments", "args", "input") if key in data), None)
    arguments = parsed(given) if isinstance(given, str) else {} if given is None else given
    made = {"name": name, "arguments": arguments}
    return ToolCall(name, arguments, named, json_text(made, where))


def read_calls(values: object, where: str = "calls") -> tuple[ToolCall, ...]:
    """Several calls; None is no call. Raises what `read_call` raises."""
    found = listed(values, where, "a list of tool calls")
    return tuple(read_call(value, f"{where}[{i}]") for i, value in enumerate(found))


def parsed(given: str) -> object:
    """Arguments as the object or list that the text is in JSON, to the letter; else the text.

    Two keys of one name, numbers that no number can hold and further text are no JSON here: what
    one reader drops another one may run.
    """
    try:
        found = json.loads(
            given, object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite
        )
    except (ValueError, RecursionError):
        return given
    return found if isinstance(found, dict | list) else given


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key that comes twice")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is too large")
    return number


def calls_text(calls: Sequence[ToolCall]) -> str:
    """The calls of one turn, as the action of a step."""
    if len(calls) == 1:
        return calls[0].text
    return "[" + ", ".join(call.text for call in calls) + "]" if calls else ""


def with_calls(step: Step, calls: Sequence[ToolCall]) -> Step:
    """The agent's step, with only these calls."""
    text = calls_text(calls)
    action = Text(text, text)
    there = any(key == "action" for key, _ in step.fields)
    fields = tuple((key, action if key == "action" else value) for key, value in step.fields)
    return Step("agent", fields if there else (*fields, ("action", action)))


def calls_of(step: Step) -> tuple[ToolCall, ...]:
    """The calls that an agent's action names: JSON, or a name before a bracket (`send{...}`)."""
    if not step.is_action:
        return ()
    action = next(value.json for key, value in step.fields if key == "action" and not value.empty)
    found = parsed(action)
    if isinstance(found, dict) and isinstance(found.get("name"), str):
        return (ToolCall(found["name"], found.get("arguments", {}), text=action),)
    if isinstance(found, list) and found:
        named = [isinstance(one, dict) and isinstance(one.get("name"), str) for one in found]
        if all(named):
            return tuple(
                ToolCall(one["name"], one.get("arguments", {}), text=json_text(one, "action"))
                for one in found
            )
    before = _NAMED.match(action)
    return (ToolCall(before[1] if before else "", action, text=action),)
