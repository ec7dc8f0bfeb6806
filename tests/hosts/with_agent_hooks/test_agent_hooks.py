"""Agent Hooks: the emitter of the SDK, driven as a host drives it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("agent_hooks", reason="the host is not here: make test-hosts")

from agent_hooks import (
    AgentContextBuilder,
    ApprovalOutcome,
    ApprovalRequest,
    ApprovalResolution,
    InterceptionBlocked,
    InterceptionEmitter,
    Verdict,
)

from stepguard.gate import Gate
from stepguard.integrations.agent_hooks import StepguardInterceptor
from stepguard.integrations.points import Points
from stepguard.policy import Decision, Outcome, Policy
from tests.hosts.planted import HARM, planted_guard
from tests.hosts.plays import SUMMARY, Call, Play, Played, act
from tests.hosts.properties import HostProperties
from tests.hosts.running import HostAsShipped


class Resolver:
    """Asks the play's person."""

    def __init__(self, play: Play) -> None:
        self.play = play

    def resolve(self, request: ApprovalRequest) -> ApprovalResolution:
        call = request.context["tool_call"]
        asked = Decision(outcome=Outcome.ASK, rule="", call_id=call["id"])
        yes = self.play.approve is not None and self.play.approve(asked)
        outcome = ApprovalOutcome.APPROVE if yes else ApprovalOutcome.REJECT
        verdict = Verdict.allow() if yes else Verdict.deny(message=request.verdict.message)
        return ApprovalResolution(outcome, request.context_identity, verdict)


class Loop:
    """An agent's loop that emits every point, or, without `model`, none of the model's."""

    def __init__(self, gate: Gate, play: Play, played: Played, model: bool) -> None:
        resolver = Resolver(play) if play.approve else None
        self.emitter = InterceptionEmitter(timeout=5.0, resolver=resolver)
        self.emitter.register(StepguardInterceptor(gate), "stepguard")
        self.build = AgentContextBuilder(agent_id="a", framework="test", session_id="s")
        self.play, self.played, self.model = play, played, model
        self.messages: list[dict[str, Any]] = []

    async def run(self) -> None:
        play, emit, build = self.play, self.emitter.emit, self.build
        await emit(build.agent_startup(tools_registered=play.names))
        if play.odd:
            self.messages.append({"role": "oracle", "content": "what?"})
            if not self.model:
                await emit(build.input(content=[None]))
        self.messages.append({"role": "system", "content": play.system})
        self.messages.append({"role": "user", "content": play.user})
        if not self.model:
            await emit(build.input(content=play.system, role="system"))
        await emit(build.input(content=play.user))
        for number, turn in enumerate([*play.turns, []]):
            said = play.thought(number) if turn else "done"
            if play.compact and number == play.compact:
                self.messages[1:-2] = [{"role": "user", "content": SUMMARY}]
            await self._model(said, turn)
            answers = await asyncio.gather(*map(self._call, turn))
            self.messages += answers
        await emit(build.output(content="done"))
        await emit(build.agent_shutdown(reason="completed"))
        self.played.ended = True

    async def _model(self, said: str, turn: list[Call]) -> None:
        calls = [{"id": c.id, "name": c.name, "args": c.arguments} for c in turn]
        if self.model:
            tools = [{"name": name, "description": name} for name in self.play.names]
            before = self.build.pre_model_call(
                model_id="m", messages=list(self.messages), tools=tools
            )
            await self.emitter.emit(before)
            after = self.build.post_model_call(
                model_id="m", content=said, tool_calls=calls, finish_reason="stop"
            )
            await self.emitter.emit(after)
        self.messages.append({"role": "assistant", "content": said, "tool_calls": calls})

    async def _call(self, call: Call) -> dict[str, Any]:
        about = {"call_id": call.id, "name": call.name, "args": call.arguments}
        try:
            await self.emitter.emit(self.build.pre_tool_call(**about))
            self.played.ran.append(call.id)
            text = self.play.result(call)
            await self.emitter.emit(self.build.post_tool_call(**about, value=text))
        except InterceptionBlocked as blocked:
            if str(blocked.result.verdict.reason).startswith("host_error:"):
                raise  # the guard itself failed: the run ends
            text = blocked.result.verdict.message or ""
        self.played.told[call.id] = text
        return {"role": "tool", "tool_call_id": call.id, "content": text}


async def host(gate: Gate, play: Play, played: Played) -> None:
    await Loop(gate, play, played, model=True).run()


async def host_of_tools(gate: Gate, play: Play, played: Played) -> None:
    await Loop(gate, play, played, model=False).run()


class TestAllPoints(HostProperties):
    host = host


class TestToolPoints(HostProperties):
    """A host that does not show what it asks the model."""

    host = host_of_tools
    compacts = False
    shows_thoughts = False


def context(at: int, point: str, **fields: Any) -> dict[str, Any]:
    ids = {"session": {"id": "s"}, "agent": {"id": "a"}}
    return {"interception_point": point, "sequence": at, **ids, **fields}


def proposal(at: int, number: int, text: str = "ls") -> dict[str, Any]:
    call = act(number, text)
    about = {"id": call.id, "name": call.name, "args": call.arguments}
    return context(at, "pre_tool_call", tool_call=about)


def decide(interceptor: StepguardInterceptor, *points: dict[str, Any]) -> list[str]:
    async def run() -> list[str]:
        return [(await interceptor.intercept(point)).decision.value for point in points]

    return asyncio.run(run())


@pytest.fixture
def gate() -> Iterator[Gate]:
    guard, _ = planted_guard()
    with Gate(guard, Policy(deadline_ms=20_000)) as gate:
        yield gate


def test_points_are_put_in_their_order(gate: Gate) -> None:
    """A point that arrives late stands where its number says."""
    points = Points()
    result = {"tool_call": {"id": "c"}, "tool_result": {"value": {"a": 1}}}
    points.add("post_tool_call", context(4, "post_tool_call", **result))
    points.add("input", context(1, "input", input={"content": "Hello", "role": "user"}))
    points.propose(proposal(3, 1))
    assert [message["role"] for message in points.messages] == ["user", "assistant", "tool"]
    assert points.messages[2]["content"] == '{"a": 1}'
    points.add("pre_model_call", context(9, "pre_model_call", messages=[{"role": "user"}]))
    points.add("input", context(2, "input", input={"content": "late"}))
    assert points.messages == [{"role": "user"}], "the model's list holds all that came before"


@pytest.mark.parametrize(
    "bad",
    [
        context(1, "input"),
        context(1, "post_tool_call", tool_call={"id": "c"}),
        context(1, "post_model_call", response="done"),
        context(1, "pre_model_call", messages="none"),
        context(1, "pre_model_call", messages=[3]),
    ],
)
def test_a_malformed_point_blocks_once(gate: Gate, bad: dict[str, Any]) -> None:
    interceptor = StepguardInterceptor(gate)
    points = [bad, proposal(2, 1), proposal(3, 2), proposal(4, 3, HARM), proposal(5, 4)]
    assert decide(interceptor, *points) == ["allow", "deny", "allow", "deny", "allow"]


@pytest.mark.parametrize(
    "bad",
    [
        context(1, "pre_tool_call"),
        context(1, "pre_tool_call", tool_call="rm"),
        context(1, "pre_tool_call", tool_call={"id": 3}),
    ],
)
def test_a_malformed_call_is_denied(gate: Gate, bad: dict[str, Any]) -> None:
    assert decide(StepguardInterceptor(gate), bad, proposal(2, 1)) == ["deny", "allow"]


def test_the_end_of_a_session_lets_go_of_it(gate: Gate) -> None:
    interceptor = StepguardInterceptor(gate)
    decide(interceptor, proposal(1, 1))
    assert (len(interceptor._sessions), len(gate.conversations)) == (1, 1)
    decide(interceptor, context(2, "agent_shutdown", summary={"reason": "completed"}))
    assert (len(interceptor._sessions), len(gate.conversations)) == (0, 0)


def test_a_host_that_waits_less_than_the_policy() -> None:
    """The host denies by itself; nothing runs, and the next run is as usual."""
    guard, _ = planted_guard()
    with Gate(guard, Policy(deadline_ms=20_000)) as gate:
        loop = Loop(gate, Play([[act(1, "slow")]]), Played(), model=True)
        loop.emitter = InterceptionEmitter(timeout=0.3)
        loop.emitter.register(StepguardInterceptor(gate), "stepguard")
        with pytest.raises(InterceptionBlocked, match="interceptor_timeout"):
            asyncio.run(loop.run())
        assert loop.played.ran == []
        loop = Loop(gate, Play([[act(2)]]), Played(), model=True)
        asyncio.run(loop.run())
        assert loop.played.ran == ["call-2"]


class TestAsShipped(HostAsShipped):
    host = "agent-hooks"
    example = "agent_hooks_host.py"

    def unwire(self, patch: pytest.MonkeyPatch) -> None:
        async def allow(self: Any, key: str, context: Any) -> Verdict:
            await self.gate.acheck(key, [], [context["tool_call"]])
            return Verdict.allow()

        patch.setattr(StepguardInterceptor, "_check", allow)
