"""stepguard doctor codex."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stepguard.doctor.codex_server import codex_server
from stepguard.doctor.program import find_program, trial, version
from stepguard.doctor.scripted_model import ScriptedModel
from stepguard.doctor.wired import PROGRAM, Wired, hears
from stepguard.errors import DoctorError
from stepguard.integrations.trials import Check

_NAME = "stepguard_doctor"
_HEARD = ("postToolUse", "userPromptSubmit")
_RUN = ("trusted", "managed")


def checks() -> Iterator[Check]:
    """Asks Codex which hooks hold in the current folder, asks every wired one about a call, and
    lets Codex itself make one."""
    program = find_program("codex")
    yield Check("codex is installed", program is not None, version(program) if program else "no")
    if program is None:
        return
    try:
        found = _hooks(program)
    except DoctorError as error:
        yield Check("Codex lists its hooks", False, str(error))
        return
    hooks = [hook for hook in found if hook.get("eventName") == "preToolUse"]
    what = f"a PreToolUse hook runs {PROGRAM}"
    where = ", ".join(sorted({str(hook.get("sourcePath")) for hook in hooks}))
    yield Check(what, bool(hooks), f"in {where}" if hooks else "none of the hooks that Codex lists")
    heard = {hook.get("eventName") for hook in found if hook.get("trustStatus") in _RUN}
    yield hears([event for event in _HEARD if event not in heard])
    for hook in hooks:
        yield from _one_hook(hook)
    yield from trial("Codex", lambda model: _start(program, model), _tools)


def _hooks(program: str) -> list[dict[str, Any]]:
    with codex_server([program], Path.cwd(), os.environ) as server:
        found = server.hooks(Path.cwd())
    return [hook for hook in found if PROGRAM in str(hook.get("command", ""))]


def _one_hook(hook: dict[str, Any]) -> Iterator[Check]:
    where = str(hook.get("sourcePath"))
    what = f"hook in {where}"
    trust = hook.get("trustStatus")
    fix = "" if trust in _RUN else ": type /hooks in Codex and trust it"
    yield Check(f"{what}: Codex runs it", not fix, f"it is {trust}{fix}")
    enabled = hook.get("enabled") is True
    yield Check(f"{what}: it is on", enabled, "yes" if enabled else "no")
    waits = hook.get("async") is not True
    yield Check(f"{what}: it is waited for", waits, "yes" if waits else "it is async")
    seconds = float(hook.get("timeoutSec", 0))
    yield from Wired("codex", str(hook["command"]), where, hook.get("matcher"), seconds).checks()


def _tools(tools: list[dict[str, Any]]) -> Iterator[Check]:
    """A terminal that is open takes more input, which no hook is asked about."""
    names = {tool.get("name"): json.dumps(tool.get("parameters")) for tool in tools}
    typed = "write_stdin" in names and '"tty"' in names.get("exec_command", '"tty"')
    found = "write_stdin can: set unified_exec_tty = false" if typed else "it cannot"
    yield Check("Codex: nothing is typed into a running command", not typed, found)


def _start(program: str, model: ScriptedModel) -> tuple[list[str], dict[str, str]]:
    """No sandbox: nothing but the hook may keep the call from running."""
    values = {
        "model": "scripted",
        "model_provider": _NAME,
        f"model_providers.{_NAME}.name": _NAME,
        f"model_providers.{_NAME}.base_url": f"{model.url}/v1",
        f"model_providers.{_NAME}.wire_api": "responses",
    }
    words = [program, "exec", "--skip-git-repo-check", "--ephemeral"]
    words += ["--sandbox", "danger-full-access"]
    for name, value in values.items():
        words += ["-c", f"{name}={json.dumps(value)}"]
    return [*words, "stepguard doctor"], {}
