"""stepguard doctor for coding agents, without the programs: settings, command lines, answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepguard.doctor import claude_code
from stepguard.doctor.mark import BLOCKED, MARK, is_marked
from stepguard.doctor.wired import Wired
from stepguard.integrations.trials import Check

Bad = dict[str, str]


def fake_hook(folder: Path, answer: str) -> str:
    """A `stepguard-hook` that says one thing with a guard, and that it has none without."""
    folder.mkdir(exist_ok=True)
    path = folder / "stepguard-hook"
    none = denial("Blocked by stepguard: the guard cannot be reached.")
    script = f"""#!/bin/sh
case "$*" in *doctor*) echo '{none}';; *) echo '{answer}';; esac
"""
    path.write_text(script, encoding="utf-8")
    path.chmod(0o755)
    return f"{path} claude-code --socket /run/guard.sock"


def denial(reason: str, decision: str = "deny") -> str:
    output = {"permissionDecision": decision, "permissionDecisionReason": reason}
    return json.dumps({"hookSpecificOutput": output})


def bad(checks: list[Check]) -> Bad:
    """What does not hold, without the place of the settings."""
    return {one.what.split(": ")[-1]: one.found for one in checks if not one.good}


def wired(command: str, matcher: str | None = "*", seconds: float = 10) -> Bad:
    return bad(list(Wired("claude-code", command, "x", matcher, seconds).checks()))


def test_a_good_hook(tmp_path: Path) -> None:
    command = fake_hook(tmp_path, denial(BLOCKED))
    for matcher in ("*", "", ".*", None):
        assert wired(command, matcher) == {}


def test_a_hook_that_does_not_ask_about_all_tools(tmp_path: Path) -> None:
    found = wired(fake_hook(tmp_path, denial(BLOCKED)), "Bash|Write")
    assert found == {"every tool is asked about": "only tools that match 'Bash|Write'"}


@pytest.mark.parametrize(
    ("words", "seconds", "good"),
    [
        ("", 5.0, False),  # as long as the hook waits where nothing is said
        ("", 5.1, True),
        ("--timeout-ms 9000", 9, False),
        ("--timeout-ms 9000 --timeout-ms 100", 9, True),  # the last one counts
        ("--timeout-ms 100 --timeout-ms", 9, False),
        ("--timeout-ms soon", 9, False),
    ],
)
def test_who_gives_up_first(tmp_path: Path, words: str, seconds: float, good: bool) -> None:
    found = wired(f"{fake_hook(tmp_path, denial(BLOCKED))} {words}", seconds=seconds)
    assert ("it answers before the host gives up" not in found) is good


@pytest.mark.parametrize(
    "command",
    [
        "true || stepguard-hook claude-code --socket a",
        "stepguard-hook claude-code --socket a; true",
        "echo $(stepguard-hook claude-code)",
        "stepguard-hook codex --socket a",
        "stepguard-hook claude-code --socket 'a",
        "timeout 1 stepguard-hook claude-code --socket a",
    ],
)
def test_commands_whose_answer_may_be_lost(command: str) -> None:
    assert list(wired(command)) == ["one plain command"]


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "{}",
        "[]",
        "no",
        denial(BLOCKED, "allow"),
        denial(BLOCKED, "ask"),
        denial("Blocked by stepguard: the guard cannot be reached."),
    ],
)
def test_blocks_that_are_not_the_guards(tmp_path: Path, answer: str) -> None:
    assert list(wired(fake_hook(tmp_path, answer))) == ["the guard itself blocks a call"]


@pytest.mark.parametrize("socket", ["$HOME/guard.sock", "guard.sock", "''"])
def test_paths_that_a_project_can_change(tmp_path: Path, socket: str) -> None:
    command = fake_hook(tmp_path, denial(BLOCKED))
    assert list(wired(f"{command} --socket {socket}")) == ["program and socket are whole paths"]
    name = command.replace(f"{tmp_path}/", "")
    assert "program and socket are whole paths" in wired(name)


def test_a_hook_that_is_not_there(tmp_path: Path) -> None:
    found = wired(f"{tmp_path}/stepguard-hook claude-code --socket /a")
    assert list(found) == ["the guard itself blocks a call", "without a guard a call is blocked"]
    assert set(found.values()) == {"it was not denied"}


def test_a_hook_that_only_observes(tmp_path: Path) -> None:
    assert "it denies" in wired(f"{fake_hook(tmp_path, denial(BLOCKED))} --observe")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Claude Code, on which all settings lie below one folder."""
    for name in ("home", "here/.claude", "managed"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.setattr(claude_code, "MANAGED", tmp_path / "managed")
    monkeypatch.setattr(claude_code, "find_program", lambda name: None)
    return tmp_path


def write(path: Path, handler: dict[str, object] | None = None, **more: object) -> None:
    """Settings with one hook, or with none."""
    group = {"matcher": "*", "hooks": [handler]}
    events = ("PreToolUse", "PostToolUse", "PostToolUseFailure", "UserPromptSubmit")
    hooks = {} if handler is None else {"hooks": {event: [group] for event in events}}
    path.write_text(json.dumps({**hooks, **more}), encoding="utf-8")


def handler(folder: Path, **changes: object) -> dict[str, object]:
    command = fake_hook(folder / "bin", denial(BLOCKED))
    good = {"type": "command", "command": command, "timeout": 10, "onFailure": "block"}
    return {**good, **changes}


def doctor() -> Bad:
    found = bad(list(claude_code.checks()))
    assert found.pop("claude is installed") == "no"
    return found


@pytest.mark.parametrize(
    "name",
    ["home/settings.json", "here/.claude/settings.local.json", "managed/managed-settings.json"],
)
def test_hooks_are_found(settings: Path, name: str) -> None:
    nothing = ["a PreToolUse hook runs stepguard-hook", "the guard reads prompts and results too"]
    assert list(doctor()) == nothing
    write(settings / name, handler(settings))
    assert doctor() == {}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"onFailure": "continue"}, "a hook that fails blocks"),
        ({"onFailure": None}, "a hook that fails blocks"),
        ({"async": True}, "it is waited for, at every call"),
        ({"if": "Bash(rm *)"}, "it is waited for, at every call"),
        ({"timeout": 5}, "it answers before the host gives up"),
        ({"args": ["--observe"]}, "one plain command"),
    ],
)
def test_hooks_that_let_calls_run(settings: Path, changes: dict[str, object], what: str) -> None:
    write(settings / "home/settings.json", handler(settings, **changes))
    assert list(doctor()) == [what]


def test_results_that_nobody_tells_the_guard_of(settings: Path) -> None:
    write(settings / "home/settings.json", handler(settings))
    path = settings / "home/settings.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    del values["hooks"]["PostToolUseFailure"]
    path.write_text(json.dumps(values), encoding="utf-8")
    expected = "no hook for PostToolUseFailure"
    assert doctor() == {"the guard reads prompts and results too": expected}


@pytest.mark.parametrize("managed", [True, False])
def test_who_can_turn_hooks_off(settings: Path, managed: bool) -> None:
    """A user can turn off their own; only managed settings can turn off managed ones."""
    where = "managed/managed-settings.json" if managed else "home/settings.json"
    write(settings / where, handler(settings))
    write(settings / "here/.claude/settings.json", disableAllHooks=True)
    assert ("no settings turn hooks off" in doctor()) is not managed


def test_only_managed_hooks(settings: Path) -> None:
    write(settings / "home/settings.json", handler(settings))
    write(settings / "managed/managed-settings.json", allowManagedHooksOnly=True)
    assert "no settings turn hooks off" in doctor()


def test_settings_that_cannot_be_read(settings: Path) -> None:
    (settings / "home/settings.json").write_text("{", encoding="utf-8")
    (settings / "here/.claude/settings.json").write_text("[]", encoding="utf-8")
    found = [one for one in claude_code.checks() if one.what == "the settings can be read"]
    assert [one.good for one in found] == [False, False]


def test_the_mark() -> None:
    assert is_marked({"command": f"true {MARK}\n"})
    for other in ({"command": f"true {MARK}; x"}, {"command": [MARK]}, {"cmd": MARK}, MARK, None):
        assert not is_marked(other)
