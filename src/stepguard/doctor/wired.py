"""One wired hook: what its command line says, and what it answers."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stepguard.doctor.mark import BLOCKED, MARK
from stepguard.integrations.trials import Check

PROGRAM = "stepguard-hook"
USUAL_MS = 5000
"""How long the hook waits where its command line does not say."""

_NOWHERE = "/proc/stepguard-doctor"  # no socket can be there
_SECONDS = 60.0


def hears(missing: list[str]) -> Check:
    """Whether the guard is told of all that happens, not of calls alone: attacks come in with
    results. `missing`: the events that no hook tells it of."""
    found = f"no hook for {', '.join(missing)}" if missing else "yes"
    return Check("the guard reads prompts and results too", not missing, found)


@dataclass(frozen=True)
class Wired:
    """A hook before tool calls, as a host's settings have it. `where` names the settings;
    `seconds` is how long the host waits for it."""

    host: Literal["claude-code", "codex"]
    command: str
    where: str
    matcher: str | None
    seconds: float

    @property
    def words(self) -> list[str]:
        """Its words; none where it is more than one plain command."""
        try:
            found = list(shlex.shlex(self.command, posix=True, punctuation_chars=True))
        except ValueError:
            return []
        if any(word and set(word) <= set("();<>|&") for word in found):
            return []
        return shlex.split(self.command)

    @property
    def waits_ms(self) -> float:
        """How long the hook waits for the guard; NaN where that cannot be read."""
        try:
            return float(self._option("--timeout-ms", str(USUAL_MS)))
        except ValueError:
            return float("nan")

    @property
    def _socket(self) -> str:
        return self._option("--socket", "")

    def _option(self, name: str, usual: str) -> str:
        """The value of an option; the last one counts."""
        words = self.words
        found = [index for index, word in enumerate(words) if word == name]
        return "".join(words[found[-1] + 1 : found[-1] + 2]) if found else usual

    def checks(self) -> Iterator[Check]:
        """What must hold for every such hook, in both hosts."""
        what = f"hook in {self.where}"
        words = self.words
        if not words or not words[0].endswith(PROGRAM) or self.host not in words:
            expected = f"{PROGRAM} {self.host} --socket PATH"
            yield Check(f"{what}: one plain command", False, f"{expected}, not {self.command!r}")
            return
        fixed = (
            words[0].startswith("/") and "$" not in self.command and self._socket.startswith("/")
        )
        found = "yes" if fixed else "a project's settings can change PATH and other variables"
        yield Check(f"{what}: program and socket are whole paths", fixed, found)
        yield Check(f"{what}: it denies", "--observe" not in words, self.command)
        all_tools = self.matcher in (None, "", "*", ".*")
        shown = "every tool" if all_tools else f"only tools that match {self.matcher!r}"
        yield Check(f"{what}: every tool is asked about", all_tools, shown)
        found = f"it gives up after {self.waits_ms / 1000:g} s, the host after {self.seconds:g} s"
        good = self.waits_ms / 1000 < self.seconds
        yield Check(f"{what}: it answers before the host gives up", good, found)
        yield from self._answers(what)

    def _answers(self, what: str) -> Iterator[Check]:
        reason = self.denied(self.command)
        found = reason if reason is not None else "it was not denied"
        yield Check(f"{what}: the guard itself blocks a call", reason == BLOCKED, found)
        reason = self.denied(f"{self.command} --socket {_NOWHERE}")
        found = reason if reason is not None else "it was not denied"
        good = reason is not None and "cannot be reached" in reason
        yield Check(f"{what}: without a guard a call is blocked", good, found)

    def denied(self, command: str) -> str | None:
        """The reason for which a command denies a marked call; None where it does not."""
        event = {
            "session_id": f"stepguard-doctor-{os.getpid()}",
            "transcript_path": None,
            "cwd": str(Path.cwd()),
            "hook_event_name": "PreToolUse",
            "permission_mode": "default",
            "tool_name": "Bash",
            "tool_input": {"command": f"true {MARK}"},
            "tool_use_id": "stepguard-doctor",
        }
        if self.host == "codex":
            event |= {"turn_id": "stepguard-doctor", "model": "scripted"}
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                input=json.dumps(event),
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return _reason(done.stdout) if done.returncode == 0 else None


def _reason(text: str) -> str | None:
    try:
        answer: Any = json.loads(text)
        output = answer["hookSpecificOutput"]
        denied = output["permissionDecision"] == "deny"
        return str(output["permissionDecisionReason"]) if denied else None
    except (ValueError, KeyError, TypeError):
        return None
