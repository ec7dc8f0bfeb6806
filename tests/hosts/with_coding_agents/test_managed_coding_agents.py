"""Hooks of the machine's administrator: they hold for everybody, and nobody has to trust them."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.hosts.with_coding_agents.conftest import Start
from tests.hosts.with_coding_agents.planted_guard import UNSAFE
from tests.hosts.with_coding_agents.programs import CodingAgent

pytestmark = pytest.mark.slow

FILES = {
    "claude-code": ("claude-code/settings.json", "claude-code/managed-settings.json"),
    "codex": ("codex/config.toml", "codex/requirements.toml"),
}
# The files of a folder lie over those of /etc, for one program and those that it starts.
OPTIONS = "lowerdir=/etc,upperdir=$0/over,workdir=$0/space"
OVER_ETC = f'mount -t overlay overlay -o "{OPTIONS}" /etc && exec "$@"'


@pytest.fixture
def managed(agent: CodingAgent) -> CodingAgent:
    """An agent without hooks of its own, on a machine that has them."""
    example, place = FILES[agent.host]
    path = agent.folder / "over" / place
    path.parent.mkdir(parents=True)
    (agent.folder / "space").mkdir()
    path.write_text(agent.example(example), encoding="utf-8")
    agent.prefix = ["unshare", "--mount", "sh", "-c", OVER_ETC, str(agent.folder)]
    if os.geteuid() or subprocess.run([*agent.prefix, "true"], capture_output=True).returncode:
        pytest.skip("nothing can be laid over /etc here")
    agent.events, agent.trusted = (), False
    return agent


def test_managed_hooks_block(managed: CodingAgent, start_guard: Start) -> None:
    """Also where a project turns hooks off."""
    start_guard(managed.socket)
    settings = managed.work / ".claude" / "settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"disableAllHooks": True}), encoding="utf-8")
    run = managed.run([["echo fine > safe"], [f"echo {UNSAFE} > bad"]])
    assert run.files == {".claude", "safe"}
