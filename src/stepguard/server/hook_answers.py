"""What the hosts of hooks want to hear, each in its own words.

An answer is one of these bytes and nothing else: the compiled client compares them as they are
(hook/answer.cc). "No opinion" is no byte at all. A field that Codex does not know would make the
tool run, and "allow" would skip the user's own permission prompt in Claude Code.
"""

from __future__ import annotations

import json
from typing import Literal

Host = Literal["claude-code", "codex"]
Said = Literal["none", "ask", "deny"]

NO_OPINION = b""
MOST_REASON = 600

# Printable ASCII that JSON writes as it is.
_PLAIN = frozenset(map(chr, range(32, 127))) - {'"', "\\"}


def encode(host: Host, decision: Said, reason: str) -> bytes:
    """The body of an answer about a tool that has not run yet.

    Codex knows no "ask": there it is a denial. A reason is fixed text and ids of labels; what of
    them is no plain text becomes "?", and what is too long is cut off. Codex lets a call run that
    was denied without a reason, so that raises ValueError.
    """
    if decision == "none":
        return NO_OPINION
    reason = "".join(sign if sign in _PLAIN else "?" for sign in reason[:MOST_REASON])
    if not reason.strip():
        raise ValueError("reason: expected some text, got none")
    said = "ask" if decision == "ask" and host == "claude-code" else "deny"
    output = {
        "hookEventName": "PreToolUse",
        "permissionDecision": said,
        "permissionDecisionReason": reason,
    }
    return json.dumps({"hookSpecificOutput": output}, separators=(",", ":")).encode()
