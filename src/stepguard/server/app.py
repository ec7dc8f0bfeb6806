"""The application: all endpoints on one guard."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepguard._version import __version__
from stepguard.audit import Recorder
from stepguard.gate import Gate
from stepguard.guard import Guard
from stepguard.policy import Policy
from stepguard.server.answer import Answer
from stepguard.server.decide import Decisions
from stepguard.server.faults import fault_of
from stepguard.server.front import Front
from stepguard.server.hook_talks import HookTalks
from stepguard.server.hooks import Hooks
from stepguard.server.metrics import Metrics
from stepguard.server.moderations import Moderations
from stepguard.server.records import Records
from stepguard.server.sessions import SessionEndpoints
from stepguard.server.settings import Settings
from stepguard.server.shared import Shared, answering
from stepguard.server.talks import Talks
from stepguard.server.work import Work
from stepguard.session import Session

_HOOKS_REAP_S = 30.0


class App:
    """`asgi` is what a server runs; `drain` ends it in order. The guard stays the caller's."""

    def __init__(
        self,
        guard: Guard,
        settings: Settings,
        policy: Policy | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        work, sessions = Work(settings.queue), settings.sessions
        gate = Gate(guard, policy, most=sessions, threads=settings.queue, record=recorder)
        talks, records = Talks(settings, work), Records(recorder)
        self.shared = Shared(guard, settings, work, talks, Metrics(guard), gate, records)

        # A window, because nobody who writes hooks can close a session that has become too long.
        def make_session() -> Session:
            return guard.session(window="window", diagnose=bool(gate.policy.labels))

        self._hook_talks = HookTalks(make_session, settings.sessions, settings.hook_idle_s)
        routes = [
            *SessionEndpoints(self.shared).routes(),
            *Decisions(self.shared).routes(),
            *Moderations(self.shared).routes(),
            *Hooks(self.shared, self._hook_talks).routes(),
            Route("/health", answering(self._health), methods=["GET"]),
            Route("/metrics", answering(self._metrics), methods=["GET"]),
        ]
        inner = Starlette(
            routes=routes,
            exception_handlers={HTTPException: _no_route},
            lifespan=self._life,
        )
        self.asgi = Front(inner, self.shared)

    async def drain(self) -> bool:
        """Lets calls under way finish, takes no others, ends the streams; False where some took
        longer than is allowed."""
        done = await self.shared.work.drain(self.shared.settings.drain_s)
        await self.shared.talks.close_all()
        return done

    @asynccontextmanager
    async def _life(self, _: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.shared.talks.reap()), asyncio.create_task(self._reap())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            await self.shared.talks.close_all()
            if not self.shared.work.running:  # else closing would wait; the guard's end ends them
                await asyncio.to_thread(self._hook_talks.close_all)
                await asyncio.to_thread(self.shared.gate.close)

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(min(_HOOKS_REAP_S, self.shared.settings.hook_idle_s / 4))
            await asyncio.to_thread(self._hook_talks.reap)

    async def _health(self, _: Request) -> Response:
        guard, closing = self.shared.guard, self.shared.work.closing
        facts = {
            "status": "closing" if closing else "ok",
            "stepguard": __version__,
            "model": guard.manifest.sha256,
            "prompt": guard.prompt.sha256,
            "mode": guard.mode,
            "calibrated": guard.calibrated,
            "trained": guard.trained,
        }
        return Answer(facts, 503 if closing else 200)

    async def _metrics(self, _: Request) -> Response:
        metrics = self.shared.metrics
        metrics.sessions.set(
            len(self.shared.talks) + len(self._hook_talks) + len(self.shared.gate.conversations)
        )
        metrics.running.set(self.shared.work.running)
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _no_route(_: Request, error: Exception) -> Response:
    return fault_of(error).response()
