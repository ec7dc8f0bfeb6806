"""The real coding agents, the hook, and resident guards that they ask."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="stepguard[serve] is not installed")

from tests.hook.hook_program import QUICK, SOURCES, build
from tests.hosts.with_coding_agents.programs import ROOT, CodingAgent, require

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def hook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled client."""
    return build(tmp_path_factory.mktemp("hook"), "stepguard-hook", SOURCES, *QUICK)


@pytest.fixture(params=["claude-code", "codex"])
def agent(request: pytest.FixtureRequest, tmp_path: Path, hook: Path) -> CodingAgent:
    """A real program, wired as in the examples."""
    require(request.param)
    return CodingAgent(request.param, tmp_path, hook)


@pytest.fixture
def start_guard() -> Iterator[Start]:
    """Starts planted guards, and ends them."""
    with ExitStack() as stack:
        yield lambda socket, *words: stack.enter_context(planted_guard(socket, *words))


@contextmanager
def planted_guard(socket: Path, *words: object) -> Iterator[subprocess.Popen[str]]:
    """The planted guard on a socket, ready."""
    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.parent.chmod(0o700)
    module = "tests.hosts.with_coding_agents.planted_guard"
    command = [sys.executable, "-m", module, str(socket), *map(str, words)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield process
    finally:
        process.kill()
        process.communicate()
