"""The OpenAI Agents SDK, with its own runner and its scripted model."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

pytest.importorskip("agents", reason="the host is not here: make test-hosts")

from agents import Agent, FunctionTool, RunConfig, Runner, WebSearchTool, set_tracing_disabled
from agents.mcp import MCPServer
from agents.run import ModelInputData
from agents.testing import ScriptedModel, assistant_message, function_call
from mcp.types import CallToolResult, TextContent
from mcp.types import Tool as MCPTool

from stepguard.gate import Gate
from stepguard.integrations.openai_agents import StepguardGuardrails
from stepguard.policy import Policy
from tests.hosts.planted import HARM, planted_guard
from tests.hosts.plays import SUMMARY, Play, Played, act, which
from tests.hosts.properties import HostProperties
from tests.hosts.running import HostAsShipped

set_tracing_disabled(True)


def script(play: Play) -> ScriptedModel:
    turns: list[list[Any]] = []
    for number, turn in enumerate(play.turns):
        said = assistant_message(play.thought(number), item_id=f"message-{number}")
        calls = [function_call(c.name, c.arguments, call_id=c.id) for c in turn]
        turns.append([said, *calls])
    return ScriptedModel([*turns, [assistant_message("done")]])


def tools(play: Play, played: Played) -> list[Any]:
    def make(name: str) -> Any:
        async def run(context: Any, arguments: str) -> str:
            call = which(play, played, name, json.loads(arguments))
            played.ran.append(call.id)
            return play.result(call)

        schema = {"type": "object", "properties": {}, "additionalProperties": True}
        return FunctionTool(
            name=name,
            description=name,
            params_json_schema=schema,
            on_invoke_tool=run,
            strict_json_schema=False,
        )

    return [make(name) for name in play.names]


def begin(play: Play) -> list[Any]:
    odd = [{"role": "oracle", "content": "what?"}] if play.odd else []
    return [*odd, {"role": "user", "content": play.user}]


def agent(guard: StepguardGuardrails, play: Play, played: Played) -> Any:
    made = Agent(
        name="agent", instructions=play.system, model=script(play), tools=tools(play, played)
    )
    return guard.protect(made)


def finish(result: Any, played: Played) -> None:
    for item in result.to_input_list():
        if item.get("type") == "function_call_output":
            played.told[item["call_id"]] = item["output"]
    played.ended = result.final_output == "done"


def options(guard: StepguardGuardrails, play: Play) -> dict[str, Any]:
    """Of a run: the hooks, and a filter that puts the summary in place of earlier turns."""

    def compacted(data: Any) -> Any:
        items, model = list(data.model_data.input), data.model_data
        calls = [i for i, item in enumerate(items) if item.get("type") == "function_call"]
        if play.compact and len(calls) >= play.compact:
            items = [{"role": "user", "content": SUMMARY}, *items[calls[play.compact - 1] :]]
        return ModelInputData(input=items, instructions=model.instructions)

    config = RunConfig(call_model_input_filter=compacted) if play.compact else None
    return {"hooks": guard.hooks, "max_turns": 50, "run_config": config}


async def host(gate: Gate, play: Play, played: Played) -> None:
    guard = StepguardGuardrails(gate, approve=play.approve)
    made = agent(guard, play, played)
    finish(await Runner.run(made, begin(play), **options(guard, play)), played)


async def streamed_host(gate: Gate, play: Play, played: Played) -> None:
    guard = StepguardGuardrails(gate, approve=play.approve)
    made = agent(guard, play, played)
    result = Runner.run_streamed(made, begin(play), **options(guard, play))
    async for _ in result.stream_events():
        pass
    finish(result, played)


class TestRun(HostProperties):
    host = host


class TestStreamed(HostProperties):
    host = streamed_host


def test_without_the_hooks_nothing_runs() -> None:
    """The trajectory is not known then: that is no reason to allow."""
    guard, _ = planted_guard()
    play, played = Play([[act(1)]]), Played()
    with Gate(guard, Policy(deadline_ms=20_000)) as gate:
        made = agent(StepguardGuardrails(gate), play, played)
        finish(asyncio.run(Runner.run(made, begin(play))), played)
    assert played.ran == []
    assert "could not be judged" in played.told["call-1"]


def test_runs_at_once_do_not_mix() -> None:
    """One pair of guardrails serves all runs of an agent."""
    guard, _ = planted_guard()
    with Gate(guard, Policy(deadline_ms=20_000)) as gate:
        guardrails = StepguardGuardrails(gate)
        plays = [Play([[act(1, "x", "read_secret")]]), Play([[act(2, "x", "send_mail")]])]
        all_played = [Played() for _ in plays]

        async def run(play: Play, played: Played) -> None:
            made = agent(guardrails, play, played)
            finish(await Runner.run(made, begin(play), hooks=guardrails.hooks), played)

        async def both() -> None:
            await asyncio.gather(*map(run, plays, all_played))

        asyncio.run(both())
    assert [played.ran for played in all_played] == [["call-1"], ["call-2"]]
    assert len(guardrails._runs) == 0, "nothing is kept of a run that has ended"


def test_a_conversation_that_the_provider_keeps() -> None:
    """The host hands over what is new only: what came before counts nevertheless."""
    guard, _ = planted_guard()
    play = Play([[act(1, "x", "read_secret")], [act(2, "x", "send_mail")], [act(3)]])
    played = Played()
    with Gate(guard, Policy(deadline_ms=20_000)) as gate:
        guardrails = StepguardGuardrails(gate)
        made = agent(guardrails, play, played)
        job = Runner.run(made, begin(play), hooks=guardrails.hooks, conversation_id="kept")
        asyncio.run(job)
    assert len(made.model.calls[1].input) == 1, "only the result is handed over"
    assert played.ran == ["call-1", "call-3"]


def test_agents_behind_a_handoff_are_covered() -> None:
    guard, _ = planted_guard()
    play, played = Play([[act(1, HARM)], [act(2)]]), Played()
    second = Agent(name="second", model=script(play), tools=tools(play, played))
    over = function_call("transfer_to_second", {}, call_id="over")
    first = Agent(name="first", model=ScriptedModel([[over]]), handoffs=[second])
    second.handoffs = [first]
    with Gate(guard, Policy(deadline_ms=20_000)) as gate:
        guardrails = StepguardGuardrails(gate)
        made = guardrails.protect(first)
        assert made.handoffs[0].handoffs[0] is made
        assert first.handoffs[0] is second, "the agents themselves stay as they are"
        result = asyncio.run(Runner.run(made, "Go.", hooks=guardrails.hooks))
    assert result.last_agent.name == "second"
    assert played.ran == ["call-2"]


class Server(MCPServer):
    """An MCP server in this process, with one tool."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[Any] = []

    name = "server"

    async def connect(self) -> None:
        pass

    async def cleanup(self) -> None:
        pass

    async def list_tools(self, *_: Any) -> list[Any]:
        return [MCPTool(name="act", description="act", inputSchema={"type": "object"})]

    async def call_tool(self, name: str, arguments: Any, *_: Any, **__: Any) -> Any:
        self.ran.append(arguments)
        return CallToolResult(content=[TextContent(type="text", text="done")])

    async def list_prompts(self) -> Any:
        raise NotImplementedError

    async def get_prompt(self, name: str, arguments: Any = None) -> Any:
        raise NotImplementedError


def test_tools_of_mcp_servers_are_covered() -> None:
    guard, _ = planted_guard()
    play, server = Play([[act(1, HARM)], [act(2)]]), Server()
    with Gate(guard, Policy(deadline_ms=20_000)) as gate:
        guardrails = StepguardGuardrails(gate)
        made = Agent(name="a", model=script(play), mcp_servers=[server])
        made = guardrails.protect(guardrails.protect(made))
        assert len(server.tool_input_guardrails or ()) == 1
        asyncio.run(Runner.run(made, "Go.", hooks=guardrails.hooks))
    assert server.ran == [{"text": "ls", "number": 2}]


def test_tools_that_are_no_functions_are_named(caplog: pytest.LogCaptureFixture) -> None:
    guard, _ = planted_guard()
    with Gate(guard) as gate:
        made = StepguardGuardrails(gate).protect(Agent(name="a", tools=[WebSearchTool()]))
    assert len(made.tools) == 1
    assert "web_search" in caplog.text


class TestAsShipped(HostAsShipped):
    host = "openai-agents"
    example = "openai_agents_agent.py"

    def unwire(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(StepguardGuardrails, "protect", lambda _, agent: agent)
