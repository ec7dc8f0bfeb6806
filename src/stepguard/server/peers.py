"""Connections: who is at the other end, and how long a silent one is kept."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from stepguard.server.settings import Settings
from stepguard.server.shared import UID

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


def peer_uid(connection: Any) -> int:
    """The uid that opened a connection to a Unix socket, as the kernel noted it.

    Raises OSError where the socket is of another kind.
    """
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])


def protocol_class(
    settings: Settings, owner: int, refused: Callable[[], None]
) -> type[asyncio.Protocol]:
    """uvicorn's protocol, for connections of the owner and the clients of `settings`.

    Requests see the peer as the client ("uid:1000", 0). `refused` is called for every connection
    that is closed unheard.
    """
    allowed = {owner, *settings.clients}

    class PeerProtocol(H11Protocol):
        _barred = False
        _clock: asyncio.TimerHandle | None = None
        _stuck: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            connection = transport.get_extra_info("socket")
            named: tuple[str, int] | None = None
            if connection.family == socket.AF_UNIX:
                uid = peer_uid(connection)
                self._barred = uid not in allowed
                named = (f"{UID}{uid}", 0)
            self._barred = self._barred or len(self.connections) >= settings.connections
            if self._barred:
                refused()
                transport.abort()
                return
            super().connection_made(transport)
            self.client = named or self.client
            transport.set_write_buffer_limits(high=0)  # whatever waits counts as stuck
            self._watch()

        def data_received(self, data: bytes) -> None:
            if not self._barred:
                super().data_received(data)
                self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def pause_writing(self) -> None:
            super().pause_writing()
            if self._stuck is None:
                self._stuck = self.loop.call_later(settings.write_s, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._stuck is not None:
                self._stuck.cancel()
                self._stuck = None

        def connection_lost(self, exc: Exception | None) -> None:
            if self._barred:
                return
            for timer in (self._clock, self._stuck):
                if timer is not None:
                    timer.cancel()
            super().connection_lost(exc)

        def _watch(self) -> None:
            """While no request is under way, the clock of the next one's head runs."""
            waiting = self.cycle is None or self.cycle.response_complete
            if not waiting and self._clock is not None:
                self._clock.cancel()
                self._clock = None
            elif waiting and self._clock is None:
                self._clock = self.loop.call_later(settings.read_s, self.transport.abort)

    return PeerProtocol
