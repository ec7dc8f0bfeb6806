"""Microsoft Agent Framework, a real host of Agent Hooks, with a scripted chat client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("agent_framework", reason="the host is not here: make test-hosts")

from agent_framework import (
    Agent,
    BaseChatClient,
    ChatMiddlewareLayer,
    ChatResponse,
    Content,
    FunctionInvocationLayer,
    FunctionTool,
    Message,
    create_agent_hooks_middleware,
)

from stepguard.gate import Gate
from stepguard.integrations.agent_hooks import StepguardInterceptor
from tests.hosts.plays import Play, Played, which
from tests.hosts.properties import HostProperties
from tests.hosts.with_agent_hooks.test_agent_hooks import Resolver


class Scripted(FunctionInvocationLayer, ChatMiddlewareLayer, BaseChatClient):  # type: ignore[type-arg]
    """Says what the play says."""

    def __init__(self, script: Iterator[list[Any]], played: Played) -> None:
        super().__init__(function_invocation_configuration={"max_iterations": 50})
        self.script, self.played = script, played

    def _inner_get_response(self, *, messages: Any, stream: bool, options: Any, **_: Any) -> Any:
        assert not stream
        for content in (content for message in messages for content in message.contents):
            if content.type == "function_result":
                self.played.told[content.call_id] = content.result
        said = Message("assistant", next(self.script))

        async def answer() -> ChatResponse[Any]:
            return ChatResponse(messages=[said], response_id="r")

        return answer()


def script(play: Play) -> Iterator[list[Any]]:
    for number, turn in enumerate(play.turns):
        calls = [
            Content.from_function_call(c.id, c.name, arguments=json.dumps(c.arguments))
            for c in turn
        ]
        yield [Content.from_text(play.thought(number)), *calls]
    yield [Content.from_text("done")]


def tools(play: Play, played: Played) -> list[Any]:
    def make(name: str) -> Any:
        async def run(**arguments: Any) -> str:
            call = which(play, played, name, arguments)
            played.ran.append(call.id)
            return play.result(call)

        schema = {"type": "object", "properties": {}, "additionalProperties": True}
        return FunctionTool(name=name, description=name, func=run, input_model=schema)

    return [make(name) for name in play.names]


async def host(gate: Gate, play: Play, played: Played) -> None:
    resolver = Resolver(play) if play.approve else None
    interceptor = StepguardInterceptor(gate, instructions=play.system)
    guard = create_agent_hooks_middleware(
        {"stepguard": interceptor}, timeout=5.0, resolver=resolver
    )
    agent = Agent(
        client=Scripted(script(play), played),
        instructions=play.system,
        tools=tools(play, played),
        middleware=[guard],
    )
    odd = [Message("oracle", ["what?"])] if play.odd else []
    answer = await agent.run([*odd, Message("user", [play.user])])
    for call_id, told in played.told.items():
        found = json.loads(told) if "blocked by agent-hooks" in told else None
        played.told[call_id] = found["message"] if found else told
    played.ended = answer.text.endswith("done")


@pytest.mark.filterwarnings("ignore:.*AGENT_HOOKS.*experimental")
class TestFramework(HostProperties):
    host = host
    compacts = False
