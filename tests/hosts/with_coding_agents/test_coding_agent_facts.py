"""What docs/coding_agents.md says about the programs themselves, and no guard can change."""

from __future__ import annotations

import json
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from stepguard.doctor.wire import Call
from tests.hosts.with_coding_agents.conftest import Start
from tests.hosts.with_coding_agents.planted_guard import UNSAFE
from tests.hosts.with_coding_agents.programs import CodingAgent
from tests.server.client import Client

pytestmark = pytest.mark.slow

ONLY = ("PreToolUse",)
SAFE = "echo fine > safe"
BAD = f"echo {UNSAFE} > bad"


CONTINUE = ('"block"', '"continue"')


def test_a_hook_that_does_not_end(agent: CodingAgent) -> None:
    """onFailure of Claude Code keeps the call from running; Codex knows nothing like it."""
    agent.events = ONLY
    agent.edits = [('"timeout": 10', '"timeout": 1'), ("timeout = 10", "timeout = 1")]
    agent.hook = _hook_that_sleeps(agent.folder)
    assert agent.run([[SAFE]]).files == ({"safe"} if agent.host == "codex" else set())


@pytest.mark.parametrize("agent", ["claude-code"], indirect=True)
def test_a_hook_that_does_not_end_without_onfailure(agent: CodingAgent) -> None:
    agent.events, agent.edits = ONLY, [('"timeout": 10', '"timeout": 1'), CONTINUE]
    agent.hook = _hook_that_sleeps(agent.folder)
    assert agent.run([[SAFE]]).files == {"safe"}


def _hook_that_sleeps(folder: Path) -> Path:
    (folder / "bin").mkdir()
    program = folder / "bin" / "stepguard-hook"
    program.write_text("#!/bin/sh\nexec sleep 30\n", encoding="utf-8")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("with_block", [True, False])
def test_a_hook_that_is_not_installed(agent: CodingAgent, with_block: bool) -> None:
    agent.events, agent.edits = ONLY, [("stepguard-hook", "stepguard-hooks")]
    agent.edits += [] if with_block else [CONTINUE]
    blocks = with_block and agent.host == "claude-code"
    assert agent.run([[SAFE]]).files == (set() if blocks else {"safe"})


@pytest.mark.parametrize("agent", ["claude-code"], indirect=True)
def test_a_project_cannot_put_another_program_in_the_place_of_the_hook(
    agent: CodingAgent, start_guard: Start
) -> None:
    """Which it can where the hook is found by its name alone."""
    start_guard(agent.socket)
    agree = agent.folder / "bin" / "stepguard-hook"
    agree.parent.mkdir()
    agree.write_text("#!/bin/sh\n", encoding="utf-8")
    agree.chmod(0o755)
    project(agent, env={"PATH": f"{agree.parent}:{os.environ['PATH']}"})
    agent.events = ONLY
    assert agent.run([[BAD]]).files == {".claude"}
    agent.edits = [(str(agent.hook), "stepguard-hook")]
    assert agent.run([[BAD]]).files == {".claude", "bad"}


@pytest.mark.parametrize("agent", ["claude-code"], indirect=True)
def test_what_turns_hooks_of_users_off(agent: CodingAgent, start_guard: Start) -> None:
    start_guard(agent.socket)
    agent.arguments = ["--bare"]
    assert agent.run([[BAD]]).files == {"bad"}
    agent.arguments = []
    project(agent, disableAllHooks=True)
    assert agent.run([[f"echo {UNSAFE} > worse"]]).files == {".claude", "bad", "worse"}


def project(agent: CodingAgent, **settings: object) -> None:
    """Settings of the folder that the agent works in."""
    path = agent.work / ".claude" / "settings.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(settings), encoding="utf-8")


@pytest.mark.parametrize("agent", ["codex"], indirect=True)
def test_codex_passes_over_hooks_that_nobody_trusted(
    agent: CodingAgent, start_guard: Start
) -> None:
    start_guard(agent.socket)
    agent.trusted = False
    assert agent.run([[BAD]]).files == {"bad"}


@pytest.mark.parametrize("agent", ["codex"], indirect=True)
def test_codex_passes_over_hooks_that_were_edited(agent: CodingAgent, start_guard: Start) -> None:
    start_guard(agent.socket)
    agent.edited_after = ("timeout = 10", "timeout = 9")
    assert agent.run([[BAD]]).files == {"bad"}


@pytest.mark.parametrize("agent", ["codex"], indirect=True)
@pytest.mark.parametrize("terminals", [True, False])
def test_what_is_typed_into_a_terminal_passes_by_the_hooks(
    agent: CodingAgent, start_guard: Start, terminals: bool
) -> None:
    """Which is why the example allows no terminals."""
    start_guard(agent.socket)
    agent.edits = [("unified_exec_tty = false", "unified_exec_tty = true")] if terminals else []
    opening = {"cmd": "bash", "yield_time_ms": 500}
    waiting = {"cmd": 'sleep 3; read x; eval "$x"', "yield_time_ms": 500}
    start = Call("exec_command", {**opening, "tty": True} if terminals else waiting)

    def typing(request: dict[str, Any]) -> list[Call]:
        (number,) = re.findall(r"session ID (\d+)", json.dumps(request["input"]))
        typed = {"session_id": int(number), "chars": f"{BAD}\n", "yield_time_ms": 1000}
        return [Call("write_stdin", typed)]

    run = agent.run([[start], typing])
    assert run.files == ({"bad"} if terminals else set())
    assert terminals or "stdin is closed" in run.told


def test_tokens_grow_by_the_new_step_only(agent: CodingAgent, start_guard: Start) -> None:
    """Twenty turns of one session: the guard never reads what it has read before."""
    start_guard(agent.socket)
    client, read = Client(agent.socket), list[int]()

    def count(number: int) -> None:
        text = client.send("GET", "/metrics").body.decode()
        (line,) = re.findall(r"^stepguard_engine_tokens\S* (\S+)", text, re.M)
        read.append(int(float(line)))

    agent.on_turn = count
    run = agent.run([[f"echo {number:02} > f{number:02}"] for number in range(20)])
    assert len(run.files) == 20
    grown = [after - before for before, after in pairwise(read[2:])]
    assert len(grown) == 18
    assert max(grown) - min(grown) <= 0.1 * min(grown), grown
