"""OpenAI Agents SDK: guardrails on function tools, and run hooks that know the trajectory.

    guard = StepguardGuardrails(gate)
    agent = guard.protect(Agent(name="agent", tools=[...]))
    await Runner.run(agent, "Hello", hooks=guard.hooks)

A guardrail is told of one call only, so that the hooks are needed: without them the call is decided
as `malformed`. Tools that the provider runs itself are not covered.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stepguard.extras import needs
from stepguard.gate import Gate
from stepguard.integrations.approval import Approve, amay_run
from stepguard.integrations.recent import Recent
from stepguard.policy import Outcome

with needs("openai-agents", "stepguard.integrations.openai_agents", "OpenAI Agents SDK 0.24"):
    from agents import (
        Agent,
        FunctionTool,
        RunHooks,
        ToolGuardrailFunctionOutput,
        ToolInputGuardrail,
        ToolOutputGuardrail,
    )

__all__ = ["StepguardGuardrails"]

_log = logging.getLogger("stepguard")
_numbers = itertools.count(1)
_NO_HOOKS = (
    "no trajectory of this run is known: give the hooks to it, Runner.run(hooks=guard.hooks)"
)


class _Run:
    """What is known of one agent's run."""

    def __init__(self) -> None:
        self.key = f"run:{next(_numbers)}"
        self.owner: object = None  # kept, so that its id stays its own
        self.system: str | None = None
        self.items: list[Any] = []
        self.tools: Any = None
        self.results: dict[object, str] = {}

    @property
    def messages(self) -> list[Any]:
        """The list as the model knows it."""
        front = [{"role": "system", "content": self.system}] if self.system else []
        return [*front, *self.items]

    def asked(self, items: list[Any]) -> None:
        """The model is asked: with all of the conversation, or, where the provider keeps it, with
        what is new only. Then results come without their calls."""
        calls = {_call_id(one) for one in items if _type(one) == "function_call"}
        ours = {_call_id(one) for one in self.items if _type(one) == "function_call"}
        answers = {_call_id(one) for one in items if _type(one) == "function_call_output"}
        new_only = bool((answers - calls) & ours)
        self.items = [*self.items, *items] if new_only else list(items)
        self.results = {}

    def answered(self) -> list[Any]:
        """The same with the results that are there, as far as none is missing before them."""
        done = {_call_id(one) for one in self.items if _type(one) == "function_call_output"}
        calls = [_call_id(one) for one in self.items if _type(one) == "function_call"]
        found = self.messages
        for call in (one for one in calls if one not in done):
            if call not in self.results:
                break
            output = self.results[call]
            found.append({"type": "function_call_output", "call_id": call, "output": output})
        return found


class StepguardGuardrails:
    """Guardrails for tools (`input`, `output`) and hooks for runs (`hooks`), of one gate."""

    def __init__(self, gate: Gate, *, approve: Approve | None = None) -> None:
        """approve: asks a person where the policy says `ask`; without it such a call is blocked. An
        async function, since others hold the event loop."""
        self.gate, self._approve = gate, approve
        self._runs: Recent[_Run] = Recent(_Run)
        self.input = ToolInputGuardrail(guardrail_function=self._input, name="stepguard")
        self.output = ToolOutputGuardrail(guardrail_function=self._output, name="stepguard")
        self.hooks = StepguardHooks(self)

    def protect(self, agent: Any) -> Any:
        """A copy of an agent whose function tools have the guardrails, and of the agents to which
        it hands over. Its MCP servers get them as they are. What cannot be covered is logged."""
        return self._copy(agent, {})

    def _copy(self, agent: Any, made: dict[int, Any]) -> Any:
        if id(agent) in made:  # agents may hand over to each other
            return made[id(agent)]
        copy = agent.clone(tools=[self._protected(tool) for tool in agent.tools])
        made[id(agent)] = copy
        copy.handoffs = [
            self._copy(one, made) if isinstance(one, Agent) else _uncovered("a handoff", one)
            for one in agent.handoffs
        ]
        for server in agent.mcp_servers:
            server.tool_input_guardrails = _with(server.tool_input_guardrails, self.input)
            server.tool_output_guardrails = _with(server.tool_output_guardrails, self.output)
        return copy

    def _protected(self, tool: Any) -> Any:
        if not isinstance(tool, FunctionTool):
            return _uncovered("a tool that is no function", tool)
        return replace(
            tool,
            tool_input_guardrails=_with(tool.tool_input_guardrails, self.input),
            tool_output_guardrails=_with(tool.tool_output_guardrails, self.output),
        )

    def begin(self, context: Any, agent: Any) -> _Run:
        """What is known of a run; a new one where nothing is."""
        run = self._runs.of((id(context.usage), agent.name))
        run.owner = context.usage
        return run

    def find(self, context: Any, agent: Any) -> _Run | None:
        """The same, None where nothing is known. All contexts of a run share its usage."""
        return self._runs.find((id(context.usage), agent.name))

    def end(self, context: Any, agent: Any) -> None:
        """Lets go of what is known of a run. What the gate has read it keeps for the next ones."""
        self._runs.drop((id(context.usage), agent.name))

    async def _input(self, data: Any) -> ToolGuardrailFunctionOutput:
        context, run = data.context, self.find(data.context, data.agent)
        call = {
            "call_id": context.tool_call_id,
            "name": context.tool_name,
            "arguments": context.tool_arguments,
        }
        if run is None:
            _log.error(_NO_HOOKS)
        key, messages = ("run:unknown", None) if run is None else (run.key, run.messages)
        tools = None if run is None else run.tools
        (decision,) = await self.gate.acheck(key, messages, [call], tools=tools)
        about = decision.to_dict()
        if decision.outcome is Outcome.RAISE:
            return ToolGuardrailFunctionOutput.raise_exception(about)
        if await amay_run(self.gate, key, call, decision, self._approve):
            return ToolGuardrailFunctionOutput.allow(about)
        return ToolGuardrailFunctionOutput.reject_content(decision.text, about)

    async def _output(self, data: Any) -> ToolGuardrailFunctionOutput:
        """A result is read while other calls of the turn still run."""
        run = self.find(data.context, data.agent)
        if run is not None and isinstance(data.output, str):
            run.results[data.context.tool_call_id] = data.output
            self.gate.observe(run.key, run.answered(), tools=run.tools)
        return ToolGuardrailFunctionOutput.allow()


class StepguardHooks(RunHooks):  # type: ignore[misc, type-arg, unused-ignore]
    """Collects what the model was told and what it answered. For hooks of your own as well, make a
    subclass and call these."""

    def __init__(self, guard: StepguardGuardrails) -> None:
        self._guard = guard

    async def on_llm_start(
        self, context: Any, agent: Any, system_prompt: str | None, input_items: list[Any]
    ) -> None:
        """Reads what is new while the model thinks."""
        run = self._guard.begin(context, agent)
        run.asked(input_items)
        run.system, run.tools = system_prompt, list(agent.tools)
        self._guard.gate.observe(run.key, run.messages, tools=run.tools)

    async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
        """The model's turn, calls included."""
        run = self._guard.begin(context, agent)
        run.items = [*run.items, *response.output]

    async def on_agent_end(self, context: Any, agent: Any, output: Any) -> None:
        """The agent has said its last."""
        self._guard.end(context, agent)


def _with(there: Sequence[Any] | None, own: Any) -> list[Any]:
    """The guardrails that are there, and ours once."""
    return [*(one for one in there or () if one is not own), own]


def _uncovered(what: str, found: Any) -> Any:
    name = getattr(found, "name", None) or getattr(found, "agent_name", found)
    _log.warning("%s is not covered: %.80r", what, name)
    return found


def _type(item: Any) -> object:
    return item.get("type") if isinstance(item, Mapping) else getattr(item, "type", None)


def _call_id(item: Any) -> object:
    return item.get("call_id") if isinstance(item, Mapping) else getattr(item, "call_id", None)
