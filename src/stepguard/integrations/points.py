"""A conversation put together of the points of one Agent Hooks session."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

from stepguard.errors import TrajectoryError
from stepguard.messages.values import json_text

_ROLES = {"user": "user", "system": "system"}


class Points:
    """The list that the model was last asked with, and what came after it.

    Points are put in the order of their sequence numbers, whenever they come. A point without what
    it should have is kept as it is, so that the gate finds it malformed.
    """

    def __init__(self) -> None:
        self.tools: Any = None
        self.waiting: dict[str, dict[str, Any]] = {}
        """Calls about which a person is asked, by their id."""
        self._base: list[Any] = []
        self._base_at = -math.inf
        self._after: list[tuple[float, int, list[Any]]] = []
        self._count = itertools.count()
        self._schemas = False

    @property
    def messages(self) -> list[Any]:
        """All of it."""
        return [*self._base, *(one for _, _, found in self._after for one in found)]

    @property
    def model_seen(self) -> bool:
        """Whether the host shows what it asks the model: then its lists hold everything."""
        return self._base_at > -math.inf

    def add(self, point: str, context: Mapping[str, Any]) -> None:
        """Adds a point that was observed."""
        at = _number(context.get("sequence"))
        if point == "agent_startup":
            self._start(context.get("agent_init"))
        elif point == "input":
            self._put(at, _input(context.get("input")))
        elif point == "pre_model_call":
            self._ask(at, context)
        elif point == "post_model_call":
            self._put(at, _response(context.get("response")))
        elif point == "post_tool_call":
            self._answer(at, context.get("tool_call"), context.get("tool_result"))
        elif point == "output" and not self.model_seen:
            self._put(at, _response(context.get("output")))

    def propose(self, context: Mapping[str, Any]) -> object:
        """The call of a `pre_tool_call`, as the gate reads it.

        Where no answer of the model has proposed it, since the host shows none, it belongs to the
        turn of the calls before it that have no result yet.
        """
        given = context.get("tool_call")
        if not isinstance(given, Mapping):
            return given
        call = dict(given)
        if not self.model_seen:
            self._turn(_number(context.get("sequence")), call)
        return call

    def _turn(self, at: float, call: dict[str, Any]) -> None:
        last: list[Any] = next((found for _, _, found in reversed(self._after) if found), [])
        if last and isinstance(last[-1], _Turn):
            last[-1] = _Turn(last[-1], tool_calls=[*last[-1]["tool_calls"], call])
        else:
            self._put(at, [_Turn(role="assistant", content="", tool_calls=[call])])

    def retract(self, call: object) -> None:
        """A call that did not run is no part of a turn that was put together here."""
        for _, _, found in self._after:
            found[:] = [one for turn in found for one in _without(turn, call)]

    def _start(self, init: object) -> None:
        """Names of tools are better than nothing; their schemas come with the first question."""
        names = init.get("tools_registered") if isinstance(init, Mapping) else None
        if isinstance(names, list) and not self._schemas:
            self.tools = [str(name) for name in names]

    def _ask(self, at: float, context: Mapping[str, Any]) -> None:
        if at <= self._base_at:
            return
        given = context.get("messages")
        messages = given if isinstance(given, list) else [context.get("messages")]
        self._base = list(itertools.chain.from_iterable(map(_message, messages)))
        self._base_at = at
        self._after = [one for one in self._after if one[0] > at]
        if isinstance(context.get("tools"), list):
            self.tools, self._schemas = context["tools"], True

    def _answer(self, at: float, call: object, result: object) -> None:
        named = str(call.get("id")) if isinstance(call, Mapping) else ""
        ran = self.waiting.pop(named, None)
        if ran is not None and not self.model_seen:  # it was taken out of its turn
            self._put(at, [_Turn(role="assistant", content="", tool_calls=[ran])])
        self._put(at, _result(call, result))

    def _put(self, at: float, messages: Iterable[Any]) -> None:
        found = list(messages)
        if at > self._base_at and found:
            bisect.insort(self._after, (at, next(self._count), found), key=lambda one: one[:2])


class _Turn(dict[str, Any]):
    """A turn that is put together of its calls. Never changed: a thread may be reading it."""


def _without(turn: Any, call: object) -> list[Any]:
    if not isinstance(turn, _Turn):
        return [turn]
    left = [one for one in turn["tool_calls"] if one is not call]
    return [_Turn(turn, tool_calls=left)] if left else []


def _number(value: object) -> float:
    """Its place; what has none is the newest."""
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if good else math.inf  # type: ignore[arg-type]


def _input(given: object) -> list[Any]:
    if not isinstance(given, Mapping) or "content" not in given:
        return [{"input": given}]
    content = given["content"]
    if isinstance(content, list) and content and all(map(_is_message, content)):
        return [one for message in content for one in _input(message)]
    return [{"role": _ROLES.get(str(given.get("role", "user")), "tool"), "content": content}]


def _response(given: object) -> list[Any]:
    if not isinstance(given, Mapping):
        return [{"response": given}]
    content, calls = given.get("content"), given.get("tool_calls")
    found: list[Any] = []
    if isinstance(content, list) and content and all(map(_is_message, content)):
        found = [one for message in content for one in _message(message)]
        content = None
    if content is not None or calls or not found:
        found.append({"role": "assistant", "content": content, "tool_calls": calls})
    return found


def _result(call: object, result: object) -> list[Any]:
    if not isinstance(call, Mapping) or not isinstance(result, Mapping) or "value" not in result:
        return [{"tool_call": call, "tool_result": result}]
    return [_answer(call.get("id"), result["value"])]


def _answer(call_id: object, value: object) -> dict[str, Any]:
    parts = isinstance(value, list) and value and all(map(_is_part, value))
    content = value if parts or isinstance(value, str) else _printed(value)
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def _printed(value: object) -> object:
    """As JSON; what cannot be printed has come back all the same, and is a part without text."""
    try:
        return json_text(value, "tool_result")
    except TrajectoryError:
        return [{"type": "unprintable"}]


def _message(message: Any) -> list[Any]:
    """A message of a list. Agent Framework has results as parts of it."""
    if not isinstance(message, Mapping) or not isinstance(parts := message.get("content"), list):
        return [message]
    results = [_is_result(part) for part in parts]
    if not any(results):
        return [message]
    found = [_answer(part.get("call_id"), part.get("result")) for part in filter(_is_result, parts)]
    left = [part for part, is_result in zip(parts, results, strict=True) if not is_result]
    return [*found, *([{**message, "content": left}] if left else [])]


def _is_message(value: object) -> bool:
    return isinstance(value, Mapping) and "role" in value and "content" in value


def _is_part(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("type"), str)


def _is_result(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "function_result"
