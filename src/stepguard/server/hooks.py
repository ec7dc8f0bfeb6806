"""/v1/hooks: what the hosts of hooks ask before and tell after every tool call."""

from __future__ import annotations

from concurrent.futures import wait
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepguard.doctor.mark import BLOCKED
from stepguard.policy import Decision, Outcome
from stepguard.prompt import Step
from stepguard.server.body import Fields, read_as
from stepguard.server.hook_answers import NO_OPINION, Host, Said, encode
from stepguard.server.hook_bodies import shortened
from stepguard.server.hook_events import HookEvent
from stepguard.server.hook_talks import HookTalks, Key
from stepguard.server.shared import HOOKS, Shared, answering, owner_of
from stepguard.server.work import Due
from stepguard.taxonomy import Verdict

_HOSTS: tuple[Host, ...] = ("claude-code", "codex")
_WORDS: dict[Outcome, Said] = {
    Outcome.ALLOW: "none",
    Outcome.ASK: "ask",
    Outcome.BLOCK: "deny",
    Outcome.RAISE: "deny",
}
_SHARE = 0.8  # of the time that is left: the answer has to be written too


class Hooks:
    """One endpoint per host. What is denied is the policy's: without one, all that is not safe."""

    def __init__(self, shared: Shared, talks: HookTalks) -> None:
        self._shared, self._talks = shared, talks

    def routes(self) -> list[Route]:
        """The endpoints."""
        return [
            Route(f"{HOOKS}/{host}", answering(partial(self.hear, host)), methods=["POST"])
            for host in _HOSTS
        ]

    async def hear(self, host: Host, request: Request) -> Response:
        """One event. Only a call that is about to run gets an answer other than "no opinion"."""
        settings = self._shared.settings
        event = await read_as(
            HookEvent.of, request, settings, most=settings.hook_bytes, shorten=shortened
        )
        if event.marked:
            return Response(encode(host, "deny", BLOCKED), media_type="application/json")
        key = (host, owner_of(request), event.session, event.agent)
        due, run = self._due(request), self._shared.work.run
        body = NO_OPINION
        if event.kind == "act" and event.step is not None:
            decide = partial(self._decide, event, due)
            record = partial(self._record, key, event.step, due)
            act = partial(self._talks.act, key, event.step, event.call, due, decide, record)
            body = self._answer(host, await run(act))
        elif event.kind in ("observe", "done"):
            await run(partial(self._talks.observe, key, event, due))
        elif event.kind == "end":
            await run(partial(self._talks.end, key))
        return Response(body, media_type="application/json")

    def _due(self, request: Request) -> Due:
        """Of the header `Stepguard-Deadline-Ms`, which says how long the host's client waits."""
        settings, text = self._shared.settings, request.headers.get("stepguard-deadline-ms")
        if text is None:
            return self._shared.due()
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text
        fields = Fields({"Stepguard-Deadline-Ms": number}, "headers")
        name = "Stepguard-Deadline-Ms"
        return self._shared.due(fields.milliseconds(name, 0, settings.longest_ms))

    def _decide(self, event: HookEvent, due: Due, verdict: Verdict) -> Decision:
        """Rules about labels need the diagnosis, where there is time for it."""
        policy = self._shared.gate.policy
        if policy.labels and verdict.diagnosis is not None:
            wait([verdict.diagnosis], due.left_ms / 1000 * _SHARE)
        return policy.decide(verdict, event.tool, event.call)

    def _record(self, key: Key, step: Step, due: Due, decision: Decision) -> Decision:
        """By host, user, session and agent."""
        return self._shared.records.decision("\n".join(key), decision, step, due.passed_ms)

    def _answer(self, host: Host, decision: Decision) -> bytes:
        self._shared.metrics.decision(decision)
        return encode(host, _WORDS[decision.outcome], decision.text)
