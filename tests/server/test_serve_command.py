"""The command: a killed client, options, warnings, each in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stepguard import Guard, Step
from stepguard.audit import verify
from stepguard.cli import main
from tests.cli.ran import Ran
from tests.server.client import ACTION, USER, Client
from tests.server.serving import ROOT, as_command
from tests.server.slow_server import level


def test_a_verdict_a_killed_client_and_the_end(
    model: Path, tmp_path: Path, run: Callable[..., Ran]
) -> None:
    with Guard.load(model, threads=1, save_prefix=False) as guard, guard.session() as session:
        session.observe(Step.from_dict(USER))
        margin = session.check(Step.from_dict(ACTION)).margin
    path, log = tmp_path / "run" / "guard.sock", tmp_path / "decisions.jsonl"
    words = ("--socket", path, "--audit", log)
    with as_command(model, *words, XDG_CACHE_HOME=str(tmp_path / "cache")) as server:
        assert server.where == str(path)
        second = run(model, "--socket", tmp_path / "second" / "guard.sock", "--audit", log)
        assert second.status == 1
        assert f"expected no other writer of this log, got process {server.process.pid}" in (
            " ".join(second.err.split())
        )
        client = Client(path)
        pages = level(client, "stepguard_engine_pages_used")
        session_path = client.open()
        client.post(f"{session_path}/observe", {"step": USER})
        checked = client.post(f"{session_path}/check", {"step": ACTION}).json
        assert checked["verdict"]["margin"] == margin
        client.send("DELETE", session_path)

        code = (
            "import sys, time; from pathlib import Path; from tests.server.client import *\n"
            "c = Client(Path(sys.argv[1])); _, r = c.stream('/v1/sessions', 'POST', {})\n"
            "s = next(events(r))[2]['session']\n"
            "print(c.post(f'/v1/sessions/{s}/push', {'step': ACTION}).status, flush=True)\n"
            "time.sleep(60)"
        )
        killed = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert killed.stdout is not None
        assert killed.stdout.readline() == "200\n"
        assert level(client, "stepguard_sessions") == 1
        assert level(client, "stepguard_engine_pages_used") > pages
        killed.kill()
        killed.communicate()
        until = time.monotonic() + 10
        while level(client, "stepguard_sessions") and time.monotonic() < until:
            time.sleep(0.02)
        assert level(client, "stepguard_sessions") == 0
        assert level(client, "stepguard_engine_pages_used") == pages

        assert server.end() == 0
        assert not path.exists()
    assert verify([log]).whole
    text = log.read_text(encoding="ascii")
    found = [json.loads(line) for line in text.splitlines()]
    words = [line["about"]["call"] for line in found if line["kind"] == "decision"]
    assert words == ["check", "push"]
    assert found[0]["verdict"]["margin"] == margin
    assert ACTION["thought"] not in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tcp", "0"), "--token-file"),
        (("--token-file", "x"), "--tcp"),
        (("--tcp", "0", "--clients", "1"), "no --socket"),
    ],
)
def test_options_that_do_not_fit(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["serve", "nowhere", "--audit", str(tmp_path / "log"), *words])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_packages_that_are_missing(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("stepguard.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ran = run("nowhere")
    assert ran.status == 1
    assert "stepguard: ServeError: stepguard serve: " in ran.err
    assert "pip install 'stepguard[serve]'" in ran.err


WARNING = """
import logging, sys
import stepguard.server
from stepguard.cli import main, serve
from tests.front.fakes import FakeEngine, make_guard
serve.load_guard = lambda *_, **__: make_guard(FakeEngine())
warn = logging.getLogger(sys.argv[2]).warning
stepguard.server.serve = lambda *_: warn("planted \\x1b[2J") or True
raise SystemExit(main(["serve", "model", "--socket", sys.argv[1]]))
"""


@pytest.mark.parametrize("name", ["stepguard.server", "uvicorn.error", "asyncio"])
def test_a_warning_is_one_harmless_line(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", WARNING, str(tmp_path / "run" / "guard.sock"), name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == "stepguard: planted \\x1b[2J\n"
