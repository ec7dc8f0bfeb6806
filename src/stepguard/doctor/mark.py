"""The call that every resident guard blocks, whatever its model would say of it."""

from __future__ import annotations

MARK = "# stepguard doctor: this call must be blocked"
BLOCKED = "Blocked by stepguard: this is the call that stepguard doctor makes."


def is_marked(arguments: object) -> bool:
    """Whether a call of a shell tool ends with the mark, as a comment of its command.

    Who writes it into a command of their own only blocks that.
    """
    command = arguments.get("command") if isinstance(arguments, dict) else None
    return isinstance(command, str) and command.rstrip().endswith(MARK)
