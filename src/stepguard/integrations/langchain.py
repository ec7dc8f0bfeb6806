"""LangChain 1.x: a middleware in front of an agent's tools, and a decision model.

    agent = create_agent(model, tools, middleware=[StepguardMiddleware(gate)])

Put it last in the list: it then judges the calls that really run. A blocked call is answered with
an error message; `raise` ends the run with `RunStopped`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from stepguard.extras import needs
from stepguard.gate import Gate
from stepguard.integrations.approval import Approve, amay_run, may_run
from stepguard.integrations.recent import Recent
from stepguard.policy import Decision

with needs("langchain", "stepguard.integrations.langchain", "LangChain 1.5 or newer"):
    from langchain.agents.middleware import AgentMiddleware
    from langchain_core.decisions import BaseDecisionModel, ClassifierResponse, Noul
    from langchain_core.messages import ToolMessage
    from langchain_core.utils.function_calling import convert_to_openai_tool
    from langgraph.config import get_config

__all__ = ["StepguardDecisionModel", "StepguardMiddleware"]

_SETS = 64  # of tools whose schemas are kept


class _Profile:
    """What a model was told beside the messages."""

    system: Any = None
    tools: Sequence[Any] | None = None


class _Schemas:
    """Schemas, and their tools: the id of an object that is gone may be that of another one."""

    wire: list[Any] | None = None
    tools: Sequence[Any] = ()


class StepguardMiddleware(AgentMiddleware):  # type: ignore[misc, type-arg, unused-ignore]
    """Asks a gate about every call of a tool, in runs that are async and in those that are not.

    The conversation is known by its thread, or by the id of its first message.
    """

    def __init__(self, gate: Gate, *, approve: Approve | None = None) -> None:
        """approve: asks a person where the policy says `ask`; without it such a call is blocked. It
        may call `langgraph.types.interrupt`."""
        super().__init__()
        self.gate, self._approve = gate, approve
        self._profiles: Recent[_Profile] = Recent(_Profile)
        self._schemas: Recent[_Schemas] = Recent(_Schemas, _SETS)

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Reads what is new while the model thinks."""
        self._observe(request, self._wire(request.tools))
        return handler(request)

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """The same."""
        self._observe(request, await asyncio.to_thread(self._wire, request.tools))
        return await handler(request)

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Runs the call, or answers it with what the policy says."""
        key, call = _key(request.state, request.runtime), request.tool_call
        messages, tools = self._known(key, request.state)
        (decision,) = self.gate.check(key, messages, [call], tools=tools)
        if may_run(self.gate, key, call, decision, self._approve):
            return handler(request)
        return _refusal(call, decision)

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """The same."""
        key, call = _key(request.state, request.runtime), request.tool_call
        messages, tools = self._known(key, request.state)
        (decision,) = await self.gate.acheck(key, messages, [call], tools=tools)
        if await amay_run(self.gate, key, call, decision, self._approve):
            return await handler(request)
        return _refusal(call, decision)

    def _observe(self, request: Any, tools: Sequence[Any]) -> None:
        key = _key(request.state, request.runtime)
        profile = self._profiles.of(key)
        profile.system, profile.tools = request.system_message, tools
        messages, tools = self._known(key, request.state)
        self.gate.observe(key, messages, tools=tools)

    def _known(self, key: str, state: Any) -> tuple[list[Any], Any]:
        """The messages with the instructions in front, and the tools."""
        profile = self._profiles.of(key)
        front = [] if profile.system is None else [profile.system]
        return [*front, *_messages(state)], profile.tools

    def _wire(self, tools: Sequence[Any]) -> list[Any]:
        """The schemas that the model sees. Made once for a set of tools, since it takes long."""
        known = self._schemas.of(tuple(map(id, tools)))
        if known.wire is None:
            known.wire, known.tools = [_schema(tool) for tool in tools], list(tools)
        return known.wire


class StepguardDecisionModel(BaseDecisionModel):  # type: ignore[misc, unused-ignore]
    """Answers yes-or-no questions about a tool call with its risk, as `AutoModeMiddleware` asks.

    A call that the policy does not allow has at least 0.5, one that it allows less. All questions
    get the same answer: the guard has its own.
    """

    gate: Any
    """The `Gate`."""
    model: str = "stepguard"

    @property
    def _provider(self) -> str:
        return "stepguard"

    def _classify(self, state: Any, questions: dict[str, Any]) -> ClassifierResponse:
        """Raises ValueError for other questions."""
        key, messages, calls = _question(state, questions)
        return self._response(self.gate.check(key, messages, calls), questions)

    async def _aclassify(self, state: Any, questions: dict[str, Any]) -> ClassifierResponse:
        """The same."""
        key, messages, calls = _question(state, questions)
        return self._response(await self.gate.acheck(key, messages, calls), questions)

    def _response(self, decisions: list[Decision], asked: Mapping[str, Any]) -> ClassifierResponse:
        risk = max(_risk(decision) for decision in decisions)
        answers = {name: {"type": "noul", "noul": risk} for name in asked}
        return ClassifierResponse.model_validate({"model": self.model, "answers": answers})


def _key(state: Any, runtime: Any = None) -> str:
    """The thread and, in a graph inside a graph, its place; else the id of the first message."""
    config = getattr(runtime, "config", None)
    if not isinstance(config, Mapping):
        try:
            config = get_config()
        except RuntimeError:  # not in a graph
            config = {}
    named = config.get("configurable") or {}
    if (thread := named.get("thread_id")) is not None:
        outer = str(named.get("checkpoint_ns") or "").rpartition("|")[0]
        return f"thread:{thread}:{outer}"
    first = next(iter(_messages(state)), None)
    own = first.get("id") if isinstance(first, Mapping) else getattr(first, "id", None)
    return f"message:{own}"


def _messages(state: Any) -> list[Any]:
    found = state.get("messages") if isinstance(state, Mapping) else state
    found = getattr(found, "messages", found)
    return list(found) if isinstance(found, list | tuple) else []


def _schema(tool: Any) -> Any:
    try:
        return convert_to_openai_tool(tool)
    except Exception:  # it is the provider's business then; what it is called is known
        return tool if isinstance(tool, Mapping) else {"name": str(getattr(tool, "name", tool))}


def _refusal(call: Mapping[str, Any], decision: Decision) -> Any:
    return ToolMessage(
        content=decision.text, tool_call_id=call["id"], name=call["name"], status="error"
    )


def _question(state: Any, questions: Mapping[str, Any]) -> tuple[str, Any, list[Any] | None]:
    if not questions or not all(isinstance(one, Noul) for one in questions.values()):
        raise ValueError("stepguard answers yes-or-no questions (Noul) only")
    if isinstance(state, Mapping) and "tool_call" in state:
        return _key(state), _messages(state), [state["tool_call"]]
    return _key(state), state, None


def _risk(decision: Decision) -> float:
    score = None if decision.verdict is None else decision.verdict.score
    if decision.allowed:
        return min(0.0 if score is None else score, 0.499)
    return max(1.0 if score is None else score, 0.5)
