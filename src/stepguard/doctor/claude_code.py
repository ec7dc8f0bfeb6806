"""stepguard doctor claude-code."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepguard.doctor.program import find_program, trial, version
from stepguard.doctor.scripted_model import ScriptedModel
from stepguard.doctor.wired import PROGRAM, Wired, hears
from stepguard.integrations.trials import Check

MANAGED = Path("/etc/claude-code")
_USUAL_S = 600.0
_HEARD = ("PostToolUse", "PostToolUseFailure", "UserPromptSubmit")
# A hook with one of these is not waited for, or not asked about every call.
_LOOSE = ("async", "asyncRewake", "if", "once")


@dataclass(frozen=True)
class Settings:
    """One settings file that holds in the current folder."""

    path: Path
    managed: bool
    values: dict[str, Any]


def checks() -> Iterator[Check]:
    """Reads the settings as Claude Code does in the current folder, asks every wired hook about a
    call, and lets Claude Code itself make one."""
    program = find_program("claude")
    yield Check("claude is installed", program is not None, version(program) if program else "no")
    found, mistakes = read_settings()
    for mistake in mistakes:
        yield Check("the settings can be read", False, mistake)
    hooks = list(_hooks(found, "PreToolUse"))
    what = f"a PreToolUse hook runs {PROGRAM}"
    where = ", ".join(str(one.path) for one in found) or "no settings"
    yield Check(what, bool(hooks), f"{len(hooks)} in {where}")
    yield from _switches(found, hooks)
    yield hears([event for event in _HEARD if not list(_hooks(found, event))])
    for settings, group, handler in hooks:
        yield from _one_hook(settings, group, handler)
    if program is not None:
        yield from trial("Claude Code", lambda model: _start(program, model))


def read_settings() -> tuple[list[Settings], list[str]]:
    """The files that are there, weakest first, and what is wrong with the others."""
    own = Path(os.environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude")
    here = Path.cwd() / ".claude"
    paths = [(own / "settings.json", False), (here / "settings.json", False)]
    paths += [(here / "settings.local.json", False), (MANAGED / "managed-settings.json", True)]
    paths += [(path, True) for path in sorted(MANAGED.glob("managed-settings.d/*.json"))]
    found, mistakes = list[Settings](), list[str]()
    for path, managed in dict(paths).items():
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            mistakes.append(f"{path}: {error}")
            continue
        if isinstance(values, dict):
            found.append(Settings(path, managed, values))
        else:
            mistakes.append(f"{path}: expected an object")
    return found, mistakes


def _hooks(
    found: list[Settings], event: str
) -> Iterator[tuple[Settings, dict[str, Any], dict[str, Any]]]:
    for settings in found:
        for group in _list(_dict(settings.values.get("hooks")).get(event)):
            for handler in _list(_dict(group).get("hooks")):
                if PROGRAM in str(_dict(handler).get("command", "")):
                    yield settings, group, handler


def _switches(found: list[Settings], hooks: list[tuple[Settings, Any, Any]]) -> Iterator[Check]:
    off = [one for one in found if one.values.get("disableAllHooks") is True]
    only = [one for one in found if one.managed and one.values.get("allowManagedHooksOnly") is True]
    managed = any(settings.managed for settings, _, _ in hooks)
    bad = [one for one in off if one.managed or not managed]
    bad += [] if managed else only
    shown = ", ".join(str(one.path) for one in bad)
    yield Check("no settings turn hooks off", not bad, f"off in {shown}" if bad else "none do")


def _one_hook(
    settings: Settings, group: dict[str, Any], handler: dict[str, Any]
) -> Iterator[Check]:
    what = f"hook in {settings.path}"
    if "args" in handler:
        found = "with args it is no shell command: write it all into command"
        yield Check(f"{what}: one plain command", False, found)
        return
    failing = handler.get("onFailure")
    found = f"onFailure is {json.dumps(failing)}"
    yield Check(f"{what}: a hook that fails blocks", failing == "block", found)
    loose = [name for name in _LOOSE if handler.get(name)]
    found = f"it has {', '.join(loose)}" if loose else "yes"
    yield Check(f"{what}: it is waited for, at every call", not loose, found)
    seconds = handler.get("timeout")
    timed = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    limit = float(handler["timeout"]) if timed else _USUAL_S
    command, matcher = str(handler["command"]), group.get("matcher")
    yield from Wired("claude-code", command, str(settings.path), matcher, limit).checks()


def _start(program: str, model: ScriptedModel) -> tuple[list[str], dict[str, str]]:
    """Settings may name another model's server; those of the command line are stronger."""
    variables = {
        "ANTHROPIC_BASE_URL": model.url,
        "ANTHROPIC_API_KEY": "none",
        "ANTHROPIC_AUTH_TOKEN": "",
        "CLAUDE_CODE_USE_BEDROCK": "",
        "CLAUDE_CODE_USE_VERTEX": "",
        "CLAUDE_CODE_USE_FOUNDRY": "",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    settings = json.dumps({"env": variables})
    words = [program, "--print", "stepguard doctor", "--allowedTools", "Bash"]
    return [*words, "--no-session-persistence", "--settings", settings], variables


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
