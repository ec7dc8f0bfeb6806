"""Runs an application until it is told to end, and ends it in order."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from stepguard.audit import Recorder
from stepguard.guard import Guard
from stepguard.policy import Policy
from stepguard.server.app import App
from stepguard.server.peers import protocol_class
from stepguard.server.settings import Settings

_MOST_HEAD = 16 << 10  # bytes of a request's head
_KEEP_ALIVE_S = 60
_LAST_S = 5  # for answers that are on their way when all calls are done


def serve(
    guard: Guard,
    settings: Settings,
    listener: socket.socket,
    ready: Callable[[], None],
    policy: Policy | None = None,
    recorder: Recorder | None = None,
) -> bool:
    """Serves on a listening socket until SIGTERM or SIGINT; a second one ends it at once.

    ready: called when connections are taken. recorder: gets everything that is decided; what it
    cannot record is not said, and does not run. Returns False where calls were still under way when
    the time to drain was over.
    """
    server = make_server(guard, settings, ready, policy, recorder)
    gc.collect()
    gc.freeze()  # what is loaded by now stays: looking through it again would hold all calls
    server.run(sockets=[listener])
    return server.drained


def make_server(
    guard: Guard,
    settings: Settings,
    ready: Callable[[], None],
    policy: Policy | None = None,
    recorder: Recorder | None = None,
) -> Server:
    """The server, for whoever runs it on a loop or a thread of their own."""
    app = App(guard, settings, policy, recorder)
    config = uvicorn.Config(
        app.asgi,
        http=protocol_class(settings, os.geteuid(), app.shared.metrics.refused),
        ws="none",
        loop="asyncio",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_LAST_S,
        h11_max_incomplete_event_size=_MOST_HEAD,
    )
    return Server(config, app, ready)


class Server(uvicorn.Server):
    """A first signal drains: what is under way is answered, everything else is told to go (503).

    uvicorn's own way is to stop listening first, which a client cannot tell from a crash.
    """

    def __init__(self, config: uvicorn.Config, app: App, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.app, self._ready = app, ready
        self._ending: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.drained = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._ending is None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin_end)
        else:
            self.should_exit = self.force_exit = True

    def _begin_end(self) -> None:
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end())

    async def _end(self) -> None:
        try:
            self.drained = await self.app.drain()
        finally:
            self.should_exit = True
