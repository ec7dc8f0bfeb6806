"""What all endpoints of a server share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps

from starlette.requests import Request
from starlette.responses import Response

from stepguard.gate import Gate
from stepguard.guard import Guard
from stepguard.server.faults import fault_of
from stepguard.server.metrics import Metrics
from stepguard.server.records import Records
from stepguard.server.settings import Settings
from stepguard.server.talks import Talks
from stepguard.server.work import Due, Work

Endpoint = Callable[[Request], Awaitable[Response]]

HOOKS = "/v1/hooks"
UID = "uid:"  # in front of the peer's uid, where a connection came over the Unix socket


@dataclass(frozen=True)
class Shared:
    """One guard and what stands around it."""

    guard: Guard
    settings: Settings
    work: Work
    talks: Talks
    metrics: Metrics
    gate: Gate
    records: Records

    def due(self, milliseconds: float | None = None) -> Due:
        """A deadline that counts from now."""
        return Due(self.settings.deadline_ms if milliseconds is None else milliseconds)


def owner_of(request: Request) -> str:
    """Whose sessions a request may use: its peer's uid, or all who know the token."""
    host = request.client.host if request.client is not None else ""
    return host if host.startswith(UID) else "token"


def answering(handler: Endpoint) -> Endpoint:
    """A handler whose exceptions are answers."""

    @wraps(handler)
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Exception as error:
            return fault_of(error).response()

    return answer
