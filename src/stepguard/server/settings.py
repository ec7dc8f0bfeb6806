"""The limits of a server, each with its default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a server allows. Times are in seconds unless the name says otherwise."""

    clients: frozenset[int] = frozenset()
    """Further uids that may connect to the Unix socket."""
    token: str | None = None
    """What clients of a TCP port must send; None for a Unix socket."""
    queue: int = 64
    """Calls that read at the same time; one more is told to come back (429)."""
    sessions: int = 256
    """Open sessions; hooks have as many of their own."""
    connections: int = 512
    """Open connections; further ones are closed at once."""
    idle_s: float = 900.0
    """A session that nobody has used for so long is closed."""
    hook_idle_s: float = 12 * 3600.0
    """The same for sessions of hooks, whose hosts have no way to open them again."""
    body_bytes: int = 1 << 20
    """Longest body of a request."""
    hook_bytes: int = 16 << 20
    """Longest event of a hook, as long as the client sends one. Of results in it that are too large
    to be read, a part is read."""
    values: int = 20_000
    """Most values in the JSON of a request. So many are read, or written as text again, in some 10
    ms, and the interpreter does nothing else meanwhile."""
    depth: int = 64
    """Deepest nesting of JSON."""
    inputs: int = 32
    """Most inputs of one moderation."""
    deadline_ms: float = 10_000.0
    """The deadline of calls that name none."""
    longest_ms: float = 120_000.0
    """The longest deadline that a call may name."""
    read_s: float = 10.0
    """A request must have arrived completely within this time."""
    write_s: float = 30.0
    """A client that takes nothing for so long is cut off."""
    drain_s: float = 30.0
    """After SIGTERM, calls under way have this time to finish."""
    events: int = 256
    """Events of a session that are kept for readers who lag behind or come back."""
