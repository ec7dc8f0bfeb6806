"""The events of Claude Code and Codex hooks, as what they mean for a trajectory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from stepguard.doctor.mark import is_marked
from stepguard.prompt import Step
from stepguard.server.faults import Fault

Kind = Literal["nothing", "observe", "act", "done", "end"]

_MOST_ID = 256
_AGENTS = ("Sub" + "agentStart", "Sub" + "agentStop")  # of an agent that another one started
_SILENT = ("SessionStart", "Stop", *_AGENTS[:1], "Notification", "PreCompact", "PostCompact")
_KNOWN = "PreToolUse, PostToolUse, PostToolUseFailure, UserPromptSubmit or SessionEnd"


@dataclass(frozen=True)
class HookEvent:
    """kind: "nothing" to read, a step to "observe", a call that is about to "act" or is "done"
    (with its result), or the "end" of a trajectory."""

    kind: Kind
    session: str
    agent: str
    step: Step | None = None
    tool: str = ""
    call: str = ""
    """The host's id of the tool call; "" where it gave none."""
    result: Step | None = None
    marked: bool = False
    """It is the call that the doctor makes."""

    @classmethod
    def of(cls, value: dict[str, Any]) -> HookEvent:
        """From the JSON object that a host hands over; further keys are left alone, since hosts add
        some in every version. Raises Fault 400 with the key that is wrong."""
        name, session = _id(value, "hook_event_name"), _id(value, "session_id")
        agent = _id(value, "agent_id") if value.get("agent_id") is not None else ""
        if name in _SILENT:
            return cls("nothing", session, agent)
        if name == "SessionEnd" or (name == _AGENTS[1] and agent):
            return cls("end", session, agent)
        if name == _AGENTS[1]:
            return cls("nothing", session, agent)
        if name == "UserPromptSubmit":
            return cls("observe", session, agent, Step.user(_text(value, "prompt")))
        if name not in ("PreToolUse", "PostToolUse", "PostToolUseFailure"):
            raise _fault("hook_event_name", _KNOWN, repr(name)[:60])
        tool = _id(value, "tool_name")
        step = Step.agent(action={"name": tool, "arguments": _there(value, "tool_input")})
        call = _id(value, "tool_use_id") if value.get("tool_use_id") is not None else ""
        if name == "PreToolUse":
            marked = is_marked(value["tool_input"])
            return cls("act", session, agent, step, tool, call, marked=marked)
        answer = "tool_response" if name == "PostToolUse" else "error"
        result = _there(value, answer)
        parts = isinstance(result, list)  # of one that was cut, too
        told = result if answer == "tool_response" or parts else {"error": result}
        return cls("done", session, agent, step, tool, call, Step.environment(told))


def _there(value: dict[str, Any], name: str) -> Any:
    if name not in value:
        raise _fault(name, "a value", "no such key")
    return value[name]


def _text(value: dict[str, Any], name: str) -> str:
    found = _there(value, name)
    if not isinstance(found, str):
        raise _fault(name, "a string", type(found).__name__)
    return found


def _id(value: dict[str, Any], name: str) -> str:
    found = _text(value, name)
    if not 0 < len(found) <= _MOST_ID:
        raise _fault(name, f"1 to {_MOST_ID} characters", str(len(found)))
    return found


def _fault(name: str, expected: str, got: str) -> Fault:
    return Fault(400, "Malformed", f"body.{name}", expected=expected, got=got)
