"""LangChain 1.x, with its own agent loop and a scripted model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("langchain", reason="the host is not here: make test-hosts")

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, AutoModeMiddleware
from langchain_core.decisions import Choice, Noul
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command, interrupt

from stepguard.gate import Gate
from stepguard.integrations.langchain import StepguardDecisionModel, StepguardMiddleware
from stepguard.policy import Decision, Outcome, Policy, Settings
from tests.hosts.planted import HARM, planted_guard
from tests.hosts.plays import SUMMARY, Play, Played, act, which
from tests.hosts.properties import QUESTION, HostProperties
from tests.hosts.running import HostAsShipped

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}


class Scripted(GenericFakeChatModel):
    """Says what the play says."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self


def script(play: Play) -> Iterator[AIMessage]:
    for number, turn in enumerate(play.turns):
        calls = [{"name": c.name, "args": c.arguments, "id": c.id} for c in turn]
        yield AIMessage(play.thought(number), tool_calls=calls)
    yield AIMessage("done")


def tools(play: Play, played: Played) -> list[Any]:
    def make(name: str) -> Any:
        def run(**arguments: Any) -> str:
            call = which(play, played, name, arguments)
            played.ran.append(call.id)
            return play.result(call)

        schema = {**SCHEMA, "additionalProperties": True}
        return StructuredTool.from_function(run, name=name, description=name, args_schema=schema)

    return [make(name) for name in play.names]


def begin(play: Play) -> dict[str, Any]:
    odd = [ChatMessage(role="oracle", content="what?")] if play.odd else []
    return {"messages": [*odd, HumanMessage(play.user)]}


def finish(state: dict[str, Any], played: Played) -> None:
    for message in state["messages"]:
        if isinstance(message, ToolMessage):
            played.told[message.tool_call_id] = message.text
    played.ended = state["messages"][-1].text == "done"


class Compact(AgentMiddleware):  # type: ignore[type-arg]
    """Puts the summary in place of what came before a turn, as a summarizing middleware does."""

    def __init__(self, play: Play) -> None:
        super().__init__()
        self.play = play

    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        turns = sum(message.type == "ai" for message in state["messages"])
        if not self.play.compact or turns != self.play.compact:
            return None
        kept = [RemoveMessage(REMOVE_ALL_MESSAGES), HumanMessage(SUMMARY)]
        return {"messages": [*kept, *state["messages"][-2:]]}


def agent(gate: Gate, play: Play, played: Played, **options: Any) -> Any:
    middleware = [Compact(play), StepguardMiddleware(gate, approve=play.approve)]
    options = {"middleware": middleware, **options}
    model = Scripted(messages=script(play))
    return create_agent(model, tools(play, played), system_prompt=play.system, **options)


CONFIG = {"recursion_limit": 100}


async def host(gate: Gate, play: Play, played: Played) -> None:
    finish(await agent(gate, play, played).ainvoke(begin(play), CONFIG), played)


def sync_host(gate: Gate, play: Play, played: Played) -> None:
    finish(agent(gate, play, played).invoke(begin(play), CONFIG), played)


class TestAsync(HostProperties):
    host = host


class TestSync(HostProperties):
    host = sync_host


def play_of(gate: Gate, turns: list[Any], config: Any = None, **options: Any) -> Played:
    played = Played()
    play = Play(turns)
    made = agent(gate, play, played, **options)
    finish(made.invoke(begin(play), {**CONFIG, **(config or {})}), played)
    return played


class TestDecisionModel:
    """`AutoModeMiddleware` with a decision model that asks the gate."""

    @pytest.fixture
    def guard(self) -> Any:
        return planted_guard()[0]

    @pytest.mark.parametrize("way", ["invoke", "ainvoke"])
    def test_auto_mode_blocks_what_the_policy_does_not_allow(self, guard: Any, way: str) -> None:
        with Gate(guard, Policy(deadline_ms=20_000)) as gate:
            model = StepguardDecisionModel(gate=gate)
            auto = AutoModeMiddleware(tools=["act"], classifier=model)
            play, played = Play([[act(1, HARM)], [act(2)]]), Played()
            made = agent(gate, play, played, middleware=[auto])
            if way == "invoke":
                finish(made.invoke(begin(play), CONFIG), played)
            else:
                finish(asyncio.run(made.ainvoke(begin(play), CONFIG)), played)
        assert played.ran == ["call-2"]
        assert "blocked" in played.told["call-1"]

    def test_a_crash_is_a_risk(self, guard: Any) -> None:
        with Gate(guard) as gate:
            model = StepguardDecisionModel(gate=gate)
            state = {"messages": [{"role": "user", "content": "x"}], "tool_call": {"odd": 1}}
            asked = {"state": state, "questions": {"risky": Noul(instructions="Risky?")}}
            assert model.invoke(asked).nouls["risky"].noul >= 0.5
            asked["state"]["tool_call"] = {"name": "act", "args": {"text": "ls"}, "id": "c"}
            assert model.invoke(asked).nouls["risky"].noul < 0.5

    def test_other_questions_are_refused(self, guard: Any) -> None:
        with Gate(guard) as gate:
            model = StepguardDecisionModel(gate=gate)
            question = Choice(instructions="Which?", criteria={"a": "A", "b": "B"})
            with pytest.raises(ValueError, match="Noul"):
                model.invoke({"state": "x", "questions": {"q": question}})


def test_a_person_is_asked_by_an_interrupt() -> None:
    """The run waits, and goes on with the answer; the gate is asked again and says the same."""
    guard, _ = planted_guard()
    policy = Policy(default=Settings(unsafe=Outcome.ASK), deadline_ms=20_000)

    def approve(decision: Decision) -> bool:
        return interrupt({"tool": decision.tool, "why": decision.text}) is True

    for answer in (True, False):
        config = {**CONFIG, "configurable": {"thread_id": f"thread-{answer}"}}
        play, played = Play([[act(1, HARM)]], approve=approve), Played()
        with Gate(guard, policy) as gate:
            made = agent(gate, play, played, checkpointer=InMemorySaver())
            waiting = made.invoke(begin(play), config)
            assert "approval" in waiting["__interrupt__"][0].value["why"]
            assert played.ran == []
            finish(made.invoke(Command(resume=answer), config), played)
        assert played.ran == (["call-1"] if answer else [])
        assert played.ended


def test_threads_are_conversations() -> None:
    """The key is the thread; what a thread has read is not read again in its next run."""
    guard, engine = planted_guard()
    keys = []
    with Gate(guard, Policy(deadline_ms=20_000), record=lambda key, _: keys.append(key)) as gate:
        saver = InMemorySaver()
        config = {"configurable": {"thread_id": "t"}}
        play_of(gate, [[act(1, "a" * 2000)]], config, checkpointer=saver)
        before = engine.asked[-1]
        play_of(gate, [[act(2)]], config, checkpointer=saver)
        play_of(gate, [[act(3)]])
    assert keys[:2] == ["thread:t:", "thread:t:"]
    assert keys[2].startswith("message:")
    assert "None" not in keys[2]
    again = engine.asked[1]
    assert again.path > before.path
    assert again.read - before.read <= again.path - before.path + QUESTION


def test_a_compacted_list_is_judged_like_a_new_one() -> None:
    """Old messages are removed from a thread: the verdict is that of a fresh read."""
    guard, engine = planted_guard()
    engine.unsafe = lambda actions: len(actions) > 2
    config = {"configurable": {"thread_id": "t"}}
    with Gate(guard, Policy(deadline_ms=20_000)) as gate:
        saver = InMemorySaver()
        assert play_of(gate, [[act(1)], [act(2)], [act(3)]], config, checkpointer=saver).ran == [
            "call-1",
            "call-2",
        ]

        class Forget(AgentMiddleware):  # type: ignore[type-arg]
            def before_agent(self, state: Any, runtime: Any) -> dict[str, Any]:
                return {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES), HumanMessage("Go on.")]}

        middleware = [Forget(), StepguardMiddleware(gate)]
        options = {"checkpointer": saver, "middleware": middleware}
        assert play_of(gate, [[act(4)]], config, **options).ran == ["call-4"]


class TestAsShipped(HostAsShipped):
    host = "langchain"
    example = "langchain_agent.py"

    def unwire(self, patch: pytest.MonkeyPatch) -> None:
        async def through(self: Any, request: Any, handler: Any) -> Any:
            return await handler(request)

        patch.setattr(StepguardMiddleware, "awrap_tool_call", through)
