"""stepguard doctor, with the real programs: what it finds is what they do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from stepguard.doctor.scripted_model import scripted_model
from tests.hosts.with_coding_agents.conftest import Start
from tests.hosts.with_coding_agents.programs import ROOT, CodingAgent

pytestmark = pytest.mark.slow


def doctor(agent: CodingAgent, *hide: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit status, and the checks that are not good."""
    environment = {**os.environ, **agent.wire()}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *sys.path])
    command = [sys.executable, "-m", "stepguard", "doctor", agent.host, "--json"]
    done = subprocess.run(
        command, cwd=agent.work, env=environment, capture_output=True, text=True, timeout=120
    )
    found = json.loads(done.stdout)
    assert found["exit_status"] == done.returncode, done.stderr
    checks = found["checks"]
    assert len(checks) >= 9
    return done.returncode, [check for check in checks if not check["good"]]


def test_all_is_well_with_the_examples(agent: CodingAgent, start_guard: Start) -> None:
    start_guard(agent.socket)
    assert doctor(agent) == (0, [])
    assert not list(agent.work.iterdir())


def test_a_block_that_is_not_the_guards(agent: CodingAgent) -> None:
    """Nothing runs, but not because anybody judged it."""
    agent.events = ("PreToolUse",)
    status, bad = doctor(agent)
    assert status == 1
    parts = ["prompts and results", "blocks a call", "guard's word"]
    assert [part in one["what"] for part, one in zip(parts, bad, strict=True)] == [True] * 3


@pytest.mark.parametrize("agent", ["claude-code"], indirect=True)
def test_hooks_that_are_turned_off(agent: CodingAgent, start_guard: Start) -> None:
    start_guard(agent.socket)
    agent.edits = [('{"hooks"', '{"disableAllHooks": true, "hooks"')]
    status, bad = doctor(agent)
    assert status == 1
    assert "turn hooks off" in bad[0]["what"]
    assert bad[1]["found"] == "it ran"


@pytest.mark.parametrize("agent", ["codex"], indirect=True)
def test_hooks_that_nobody_trusted(agent: CodingAgent, start_guard: Start) -> None:
    start_guard(agent.socket)
    agent.trusted = False
    status, bad = doctor(agent)
    assert status == 1
    assert bad[0]["found"] == "no hook for postToolUse, userPromptSubmit"
    assert "untrusted: type /hooks" in bad[1]["found"]
    assert bad[2]["found"] == "it ran"


@pytest.mark.parametrize("agent", ["codex"], indirect=True)
def test_terminals_that_pass_by_the_hooks(agent: CodingAgent, start_guard: Start) -> None:
    start_guard(agent.socket)
    agent.edits = [("unified_exec_tty = false", "unified_exec_tty = true")]
    status, bad = doctor(agent)
    assert (status, len(bad)) == (1, 1)
    assert "write_stdin" in bad[0]["found"]


@pytest.mark.parametrize("agent", ["claude-code"], indirect=True)
def test_settings_that_name_another_model(agent: CodingAgent, start_guard: Start) -> None:
    """They are passed over: nothing is asked of it."""
    start_guard(agent.socket)
    with scripted_model([]) as other:
        variables = {"ANTHROPIC_BASE_URL": other.url, "CLAUDE_CODE_USE_BEDROCK": "1"}
        agent.edits = [('{"hooks"', f'{{"env": {json.dumps(variables)}, "hooks"')]
        assert doctor(agent) == (0, [])
        assert not other.asked
