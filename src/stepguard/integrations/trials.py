"""One call of a tool in each host, with the host's own doubles: whether it runs, and what the model
is told. Every host is one function; each imports its host itself."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from stepguard.gate import Gate
from stepguard.integrations.planted import PlantedGate
from stepguard.policy import Outcome

_ARGUMENTS = {"path": "/"}


@dataclass
class Trial:
    """What became of the call."""

    ran: bool = False
    told: str = ""

    def tool(self, path: str) -> str:
        """Removes a path."""
        self.ran = True
        return "removed"


@dataclass(frozen=True)
class Check:
    """One thing that must hold; found says what happened."""

    what: str
    good: bool
    found: str


Play = Callable[[Gate], Trial]


def checks(way: str, play: Play) -> Iterator[Check]:
    """A call that is allowed runs; one that is blocked does not, and the model is told so."""
    for outcome in (Outcome.ALLOW, Outcome.BLOCK):
        gate = PlantedGate(outcome)
        allow = outcome is Outcome.ALLOW
        what = f"{way}: {'an allowed call runs' if allow else 'a blocked call does not run'}"
        try:
            trial = play(gate)
        except Exception as error:
            yield Check(what, False, f"{type(error).__name__}: {error}")
            continue
        asked = "asked" if gate.asked else "never asked"
        ran = "ran" if trial.ran else "did not run"
        good = bool(gate.asked) and trial.ran is allow
        yield Check(what, good, f"the gate was {asked}, the tool {ran}")
        if not allow:
            told = "blocked" in trial.told
            found = f"it was told: {trial.told[:60]!r}"
            yield Check(f"{way}: the model is told that it was blocked", told, found)


def agent_hooks() -> Iterator[Check]:
    """The emitter of the SDK, and Agent Framework where it is installed."""
    from stepguard.integrations.agent_hooks import StepguardInterceptor

    def play(gate: Gate) -> Trial:
        from agent_hooks import AgentContextBuilder, InterceptionBlocked, InterceptionEmitter

        trial, emitter = Trial(), InterceptionEmitter()
        emitter.register(StepguardInterceptor(gate), "stepguard")
        build = AgentContextBuilder(agent_id="a", framework="doctor", session_id="s")

        async def run() -> None:
            call = build.pre_tool_call(call_id="c", name="remove", args=_ARGUMENTS)
            try:
                await emitter.emit(call)
            except InterceptionBlocked as blocked:
                trial.told = blocked.result.verdict.message or ""
            else:
                trial.tool("/")

        asyncio.run(run())
        return trial

    yield from checks("InterceptionEmitter.emit", play)
    if find_spec("agent_framework") is not None:
        yield from checks("Agent Framework", _agent_framework)


def _agent_framework(gate: Gate) -> Trial:
    from agent_framework import (
        Agent,
        BaseChatClient,
        ChatMiddlewareLayer,
        ChatResponse,
        Content,
        FunctionInvocationLayer,
        Message,
        create_agent_hooks_middleware,
        tool,
    )

    from stepguard.integrations.agent_hooks import StepguardInterceptor

    trial = Trial()
    call = Content.from_function_call("c", "remove", arguments=_ARGUMENTS)
    said = iter([[call], [Content.from_text("done")]])

    async def answer(_: Any, *, messages: Any, **__: Any) -> Any:
        results = [one.result for one in messages[-1].contents if one.type == "function_result"]
        trial.told = str(results[-1]) if results else ""
        return ChatResponse(messages=[Message("assistant", next(said))], response_id="r")

    layers = (FunctionInvocationLayer, ChatMiddlewareLayer, BaseChatClient)
    scripted: Any = type("Scripted", layers, {"_inner_get_response": answer})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that this part of it is experimental
        guard = create_agent_hooks_middleware({"stepguard": StepguardInterceptor(gate)})
    tools = [tool(trial.tool, name="remove")]
    agent = Agent(client=scripted(), tools=tools, middleware=[guard])
    asyncio.run(agent.run("Go."))
    return trial


def langchain() -> Iterator[Check]:
    """Its agent, async and not."""
    from stepguard.integrations.langchain import StepguardMiddleware

    def play(gate: Gate, ainvoke: bool) -> Trial:
        from langchain.agents import create_agent
        from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
        from langchain_core.messages import AIMessage
        from langchain_core.tools import tool

        class Scripted(GenericFakeChatModel):  # type: ignore[misc, unused-ignore]
            def bind_tools(self, tools: Any, **_: Any) -> Any:
                return self

        trial = Trial()
        calls = [{"name": "remove", "args": _ARGUMENTS, "id": "c"}]
        said = iter([AIMessage("", tool_calls=calls), AIMessage("done")])
        agent = create_agent(
            Scripted(messages=said),
            [tool("remove")(trial.tool)],
            middleware=[StepguardMiddleware(gate)],
        )
        begin = {"messages": [("user", "Go.")]}
        state = asyncio.run(agent.ainvoke(begin)) if ainvoke else agent.invoke(begin)
        trial.told = state["messages"][-2].text
        return trial

    yield from checks("agent.invoke", lambda gate: play(gate, False))
    yield from checks("agent.ainvoke", lambda gate: play(gate, True))


def openai_agents() -> Iterator[Check]:
    """Its runner, streamed and not."""
    from stepguard.integrations.openai_agents import StepguardGuardrails

    def play(gate: Gate, streamed: bool) -> Trial:
        from agents import Agent, RunConfig, Runner, function_tool
        from agents.testing import ScriptedModel, assistant_message, function_call

        trial, guard = Trial(), StepguardGuardrails(gate)
        call = function_call("tool", _ARGUMENTS, call_id="c")
        model = ScriptedModel([[call], [assistant_message("done")]])
        agent = guard.protect(Agent(name="a", model=model, tools=[function_tool(trial.tool)]))
        options: dict[str, Any] = {"hooks": guard.hooks}
        options["run_config"] = RunConfig(tracing_disabled=True)

        async def run() -> Any:
            if not streamed:
                return await Runner.run(agent, "Go.", **options)
            result = Runner.run_streamed(agent, "Go.", **options)
            async for _ in result.stream_events():
                pass
            return result

        items = asyncio.run(run()).to_input_list()
        told = [one["output"] for one in items if one.get("type") == "function_call_output"]
        trial.told = str(told[-1])
        return trial

    yield from checks("Runner.run", lambda gate: play(gate, False))
    yield from checks("Runner.run_streamed", lambda gate: play(gate, True))
