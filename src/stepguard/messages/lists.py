"""A whole message list, request or trajectory as a transcript.

Every message is looked at by itself: hosts mix shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepguard.errors import TrajectoryError
from stepguard.files import located
from stepguard.messages import items, langchain
from stepguard.messages.chat import ROLES, read_message
from stepguard.messages.items import is_item, read_item
from stepguard.messages.langchain import as_message, is_langchain
from stepguard.messages.tools import tools_text
from stepguard.messages.transcript import Builder, Transcript
from stepguard.messages.values import kind, plain
from stepguard.prompt import Step, Trajectory
from stepguard.prompt.step import profile_text

_EXPECTED = (
    f"a message with a role ({ROLES}), {items.EXPECTED}, {langchain.EXPECTED}, or a stepguard.Step"
)


def read_messages(messages: object, *, tools: object = None, where: str = "") -> Transcript:
    """Reads what a host has of a conversation.

    Args:
        messages: a list of messages or items of OpenAI (chat, Responses), Anthropic or LangChain
            (objects or dicts), of AgentDoG's steps or of `Step`; the body of a request with such a
            list and `system`, `instructions` or `tools` beside it; a `Trajectory`, or one as a
            dict; or a string, which is what a user said.
        tools: the tools that the agent has, in the shape of any of these hosts.
        where: what stands in front of the place in an error, like the name of a file.

    Instructions in front, and then the tools, are the profile. What has no text (images, audio,
    parts of unknown types) is listed as `uncovered` and counted by its step.

    Raises:
        TrajectoryError: something is of no known shape; names the message by its index.
    """
    try:
        return _read(messages, tools, Builder())
    except TrajectoryError as error:
        if not where:
            raise
        raise located(error, where) from error


def _read(messages: object, tools: object, into: Builder) -> Transcript:
    if isinstance(messages, Trajectory):
        messages = {"profile": messages.profile, "contents": messages.steps}
    if isinstance(messages, Mapping):
        return _read_body(messages, tools, into)
    if isinstance(messages, str):
        into.user(messages)
    else:
        _read_list(messages, "messages", into)
    return into.done(tools_text(tools))


def list_of(body: Mapping[str, Any]) -> str | None:
    """The key of a body, or of a trajectory, under which its list stands, if it has one."""
    return next((key for key in ("contents", "messages", "input") if key in body), None)


def _read_body(body: Mapping[str, Any], tools: object, into: Builder) -> Transcript:
    """The body of a request, or a trajectory."""
    name = list_of(body)
    if name is None:
        expected = "a list of messages, or an object with 'messages', 'input' or 'contents'"
        raise TrajectoryError("messages", expected=expected, got=kind(body))
    if name == "contents" and "profile" in body:
        into.system(profile_text(body["profile"]))
    for key in ("system", "instructions"):
        if body.get(key) is not None:
            read_message({"role": "system", "content": body[key]}, key, into)
    found = body[name]
    if name == "input" and isinstance(found, str):
        into.user(found)
    elif name == "contents":
        _read_rounds(found, into)
    else:
        _read_list(found, name, into)
    return into.done(tools_text(body.get("tools") if tools is None else tools))


def _read_rounds(rounds: object, into: Builder) -> None:
    """Steps, or rounds of steps, with their flat index."""
    if not isinstance(rounds, list | tuple):
        got = kind(rounds)
        raise TrajectoryError("contents", expected="a list of steps or of rounds", got=got)
    count = 0
    for i, entry in enumerate(rounds):
        inner = entry if isinstance(entry, list | tuple) else [entry]
        for j, step in enumerate(inner):
            into.at, count = count, count + 1
            where = f"contents[{i}][{j}]" if inner is entry else f"contents[{i}]"
            into.step(step if isinstance(step, Step) else Step.from_dict(step, where))


def _read_list(messages: object, name: str, into: Builder) -> None:
    if not isinstance(messages, list | tuple):
        raise TrajectoryError(name, expected="a list of messages", got=kind(messages))
    for index, message in enumerate(messages):
        into.at, where = index, f"{name}[{index}]"
        try:
            _read_one(message, where, into)
        except TrajectoryError:
            raise
        except Exception as error:  # a host's object that fails when it is looked at
            got = f"{type(message).__name__} that cannot be read ({type(error).__name__})"
            raise TrajectoryError(where, expected=_EXPECTED, got=got) from error


def _read_one(message: object, where: str, into: Builder) -> None:
    if isinstance(message, Step):
        into.step(message)
        return
    if is_langchain(message):
        read_message(as_message(message, where), where, into)
        return
    found = plain(message)
    if found is not None and is_item(found):
        read_item(found, where, into)
    elif found is not None and "role" in found:
        read_message(found, where, into)
    else:
        raise TrajectoryError(where, expected=_EXPECTED, got=kind(message))
