"""A resident guard: one model for many agents, over a Unix socket or a port of this machine."""

from __future__ import annotations

from stepguard.server.listen import default_path, read_token, tcp_socket, unix_socket
from stepguard.server.run import serve
from stepguard.server.settings import Settings

__all__ = ["Settings", "default_path", "read_token", "serve", "tcp_socket", "unix_socket"]
