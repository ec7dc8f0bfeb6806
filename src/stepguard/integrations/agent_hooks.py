"""Microsoft Agent Hooks: an interceptor, for Microsoft Agent Framework and others that call it.

    middleware = create_agent_hooks_middleware({"stepguard": StepguardInterceptor(gate)}, timeout=5)
    emitter.register(StepguardInterceptor(gate), "stepguard")

It must see all points of a session: it builds the conversation of them. `ask` is a deny that the
host's approval resolver may lift; `raise` is an error, which ends the run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from stepguard.errors import RunStopped, StepguardError
from stepguard.extras import needs
from stepguard.gate import Gate
from stepguard.integrations.points import Points
from stepguard.integrations.recent import Recent
from stepguard.policy import Decision, Outcome

with needs("agent-hooks", "stepguard.integrations.agent_hooks", "the package agent-hooks-sdk"):
    from agent_hooks import Verdict

__all__ = ["StepguardInterceptor"]

_log = logging.getLogger("stepguard")


class StepguardInterceptor:
    """Decides at `pre_tool_call` and observes all other points. Async, so that the host's own limit
    holds; the policy's deadline must be below it."""

    def __init__(self, gate: Gate, *, instructions: str | None = None) -> None:
        """instructions: the agent's, for a host whose messages do not show them (Agent Framework
        gives them to its client beside the messages)."""
        self.gate = gate
        self._front = [{"role": "system", "content": instructions}] if instructions else []
        self._sessions: Recent[Points] = Recent(Points)

    async def intercept(self, context: dict[str, Any]) -> Verdict:
        """Raises RunStopped where the policy says `raise`."""
        key, point = _key(context), str(context.get("interception_point"))
        if point == "pre_tool_call":
            return await self._check(key, context)
        try:
            if point == "agent_shutdown":
                self._sessions.drop(key)
                await asyncio.to_thread(self.gate.close, key)  # it waits for calls under way
            else:
                await self._observe(key, point, context)
        except Exception:  # nothing is decided here, and the next call is judged without it
            _log.exception("a point of a session could not be observed")
        return Verdict.allow()

    async def _check(self, key: str, context: dict[str, Any]) -> Verdict:
        points = self._sessions.of(key)
        call = points.propose(context)
        messages = [*self._front, *points.messages]
        (decision,) = await self.gate.acheck(key, messages, [call], tools=points.tools)
        if not decision.allowed:
            points.retract(call)
        if decision.outcome is Outcome.ASK and isinstance(call, dict):
            points.waiting[decision.call_id] = call
        return _verdict(decision)

    async def _observe(self, key: str, point: str, context: dict[str, Any]) -> None:
        points = self._sessions.of(key)
        points.add(point, context)
        if point == "pre_model_call":
            await self._refused(key, points)
        if point == ("pre_model_call" if points.model_seen else "post_tool_call"):
            messages = [*self._front, *points.messages]
            self.gate.observe(key, messages, tools=points.tools)

    async def _refused(self, key: str, points: Points) -> None:
        """What a person was asked about and has no result by now did not run."""
        calls, points.waiting = list(points.waiting.values()), {}
        for call in calls:
            try:
                await self.gate.adecided(key, [call], ran=False)
            except StepguardError as error:
                _log.debug("a decision about a call is not known", exc_info=error)


def _key(context: Mapping[str, Any]) -> str:
    """The session and the agent: one session may have several."""
    ids = []
    for name in ("session", "agent"):
        found = context.get(name)
        ids.append(str(found.get("id")) if isinstance(found, Mapping) else "")
    return ":".join(ids)


def _verdict(decision: Decision) -> Verdict:
    if decision.outcome is Outcome.RAISE:
        raise RunStopped("the policy", got=decision.text)
    if decision.allowed:
        return Verdict.allow()
    refuse = Verdict.escalate if decision.outcome is Outcome.ASK else Verdict.deny
    return refuse(reason=decision.rule, message=decision.text)
