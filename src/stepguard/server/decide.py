"""/v1/decide: a conversation and the calls at its end go in, what to do with each comes out."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepguard.server.answer import Answer
from stepguard.server.body import Fields, read_json
from stepguard.server.shared import Shared, answering, owner_of


class Decisions:
    """`Gate` over HTTP. Every user has keys of their own."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def routes(self) -> list[Route]:
        """The endpoints."""
        return [
            Route("/v1/decide", answering(self.decide), methods=["POST"]),
            Route("/v1/decided", answering(self.decided), methods=["POST"]),
            Route("/v1/forget", answering(self.forget), methods=["POST"]),
        ]

    async def decide(self, request: Request) -> Response:
        """A decision per call. Whatever goes wrong on the way is a decision of the policy too."""
        shared = self._shared
        key, fields = await self._key(request)
        messages, calls = fields.take("messages"), fields.take("calls", None)
        tools = fields.take("tools", None)
        usual, most = shared.gate.policy.deadline_ms, shared.settings.longest_ms
        due = shared.due(fields.milliseconds("deadline_ms", usual, most))
        fields.done()

        check = partial(shared.gate.check, key, messages, calls, tools=tools)
        found = await shared.work.run(lambda: check(deadline_ms=due.left_ms))
        for decision in found:
            shared.metrics.decision(decision)
        return Answer({"decisions": [decision.to_dict() for decision in found]})

    async def decided(self, request: Request) -> Response:
        """What became of calls that a person was asked about, or that ran all the same."""
        key, fields = await self._key(request)
        calls, ran = fields.take("calls", None), fields.flag("ran")
        fields.done()
        await self._shared.work.run(partial(self._shared.gate.decided, key, calls, ran=ran))
        return Answer({})

    async def forget(self, request: Request) -> Response:
        """Lets go of a conversation."""
        key, fields = await self._key(request)
        fields.done()
        await self._shared.work.run(partial(self._shared.gate.close, key))
        return Answer({})

    async def _key(self, request: Request) -> tuple[str, Fields]:
        fields = Fields(await read_json(request, self._shared.settings))
        return f"{owner_of(request)}\n{fields.text('key')}", fields
