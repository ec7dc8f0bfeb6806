"""Asks the hook as a host does, and reads what it denies."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

DENY = (
    b'{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny",'
    b'"permissionDecisionReason":"Blocked by stepguard: the verdict is unsafe."}}'
)
EVENT = json.dumps({"hook_event_name": "PreToolUse", "tool_input": {"a": "\u00e9\n"}}).encode()
HOSTS = ["claude-code", "codex"]


def ask(
    program: Path, path: Path, *words: str, host: str = "codex", event: bytes = EVENT
) -> subprocess.CompletedProcess[bytes]:
    command = [str(program), host, "--socket", str(path), "--timeout-ms", "4000", *words]
    return subprocess.run(command, input=event, capture_output=True, timeout=30, check=False)


def reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Why it denied, after a look at the whole answer: nothing in it but what both hosts know."""
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)["hookSpecificOutput"]
    assert json.loads(done.stdout) == {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": output["permissionDecisionReason"],
        }
    }
    assert output["permissionDecisionReason"]
    return str(output["permissionDecisionReason"])
