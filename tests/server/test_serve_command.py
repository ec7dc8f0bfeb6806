"""The command: signals, other users, killed clients, each in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stepguard import Guard, Step
from stepguard.audit import verify
from stepguard.cli import main
from tests.cli.ran import Ran
from tests.server.client import ACTION, USER, Answer, Client, events
from tests.server.serving import ROOT, as_command

FOREIGN = 65534


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """`stepguard serve` with these words, for commands that fail."""

    def command(*words: object) -> Ran:
        status = main(["serve", *map(str, words)])
        found = capsys.readouterr()
        return Ran(status, found.out, found.err)

    return command


def level(client: Client, name: str) -> float:
    text = client.send("GET", "/metrics").body.decode()
    return float(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[1])


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


SLOW = """
import sys, threading, time
from pathlib import Path
from stepguard.server import Settings, serve, unix_socket
from tests.front.fakes import make_guard
from tests.server.serving import Gate
gate = Gate()
guard = make_guard(gate)
with unix_socket(Path(sys.argv[1]), shared=False) as listener:
    gate.gate.clear()
    threading.Thread(target=lambda: (sys.stdin.readline(), gate.gate.set()), daemon=True).start()
    ready = lambda: print("ready", flush=True)
    settings = Settings(drain_s=float(sys.argv[2]))
    done = serve(guard, settings, listener, ready)
raise SystemExit(0 if done else 3)
"""


def start_slow(path: Path, drain: float) -> subprocess.Popen[str]:
    """A server whose engine answers when it is written a line."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SLOW, str(path), str(drain)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_signal_lets_calls_finish_and_turns_others_away(tmp_path: Path) -> None:
    client = Client(tmp_path / "run" / "guard.sock")
    server = start_slow(client.path, 30)
    path = client.open()
    connection, response = client.stream(f"{path}/events")
    found: list[Answer] = []
    body = {"step": ACTION, "deadline_ms": 60_000}
    pushing = threading.Thread(target=lambda: found.append(client.post(f"{path}/push", body)))
    pushing.start()
    while level(client, "stepguard_calls") < 1:
        time.sleep(0.01)
    server.send_signal(signal.SIGTERM)
    until = time.monotonic() + 10
    while client.send("GET", "/health").status == 200 and time.monotonic() < until:
        time.sleep(0.01)
    assert client.send("GET", "/health").json["status"] == "closing"
    for answer in (client.post("/v1/sessions"), client.post(f"{path}/push", body)):
        assert (answer.status, answer.error["type"]) == (503, "Closing")
        assert answer.headers["retry-after"]
    hook = client.post("/v1/hooks/codex", {"session_id": "s", "hook_event_name": "Stop"})
    assert hook.status == 503
    assert not found
    assert server.stdin is not None
    server.stdin.write("go\n")
    server.stdin.flush()
    pushing.join(20)
    assert found[0].status == 200
    assert found[0].json["verdict"]["margin"] is not None
    assert list(events(response)) == [(1, "verdict", found[0].json), (None, "closed", {})]
    connection.close()
    assert server.wait(20) == 0


def test_what_takes_too_long_is_left_and_said(tmp_path: Path) -> None:
    client = Client(tmp_path / "run" / "guard.sock")
    server = start_slow(client.path, 1)
    path = client.open()
    body = {"step": ACTION, "deadline_ms": 2500}
    pushing = threading.Thread(target=lambda: client.post(f"{path}/push", body))
    pushing.start()
    while level(client, "stepguard_calls") < 1:
        time.sleep(0.01)
    server.send_signal(signal.SIGTERM)
    assert server.wait(20) == 3
    pushing.join(20)


# A guard as a user of its own, which an agent of another user cannot touch.
as_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv"
)


@as_root
def test_foreign_users_are_not_heard_and_sessions_belong_to_their_user(
    model: Path, open_folder: Path
) -> None:
    path = open_folder / "run" / "guard.sock"
    with as_command(model, "--socket", path, "--clients", "12345,12346") as server:
        assert probe(path, 0) == "200"
        assert probe(path, FOREIGN) == "refused"
        assert level(Client(path), "stepguard_refused_connections_total") == 1
        session = probe(path, 12345, "open")
        assert probe(path, 12345, session) == "200"
        assert probe(path, 12346, session) == "404"
        assert server.end() == 0


@as_root
@pytest.mark.slow
def test_without_clients_nobody_else_finds_the_socket(model: Path, open_folder: Path) -> None:
    path = open_folder / "run" / "guard.sock"
    with as_command(model, "--socket", path):
        assert probe(path, FOREIGN) == "no way"


@as_root
def test_a_server_of_another_user(model: Path, open_folder: Path) -> None:
    folder = open_folder / "run"
    folder.mkdir()
    folder.chmod(0o711)
    os.chown(folder, 12345, 12345)
    readable = open_folder / "model"
    shutil.copytree(model, readable)
    as_other = ("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups")
    options = ("--socket", folder / "guard.sock", "--clients", FOREIGN)
    cache = open_folder / "cache"
    cache.mkdir()
    os.chown(cache, 12345, 12345)
    with as_command(readable, *options, prefix=as_other, XDG_CACHE_HOME=str(cache)):
        assert probe(folder / "guard.sock", FOREIGN) == "200"
        assert probe(folder / "guard.sock", 12346) == "refused"
        # What an agent of another user could do to a guard of its own user:
        assert denied(FOREIGN, f"open({str(folder / 'other.sock')!r}, 'w')")
        assert denied(FOREIGN, f"__import__('os').unlink({str(folder / 'guard.sock')!r})")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can go through. Not one of pytest's own, which every run that
    begins closes to them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


PROBE = """
import os, sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from tests.server.client import *
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
client, what = Client(Path(sys.argv[1]), timeout=10), sys.argv[4]
try:
    if what == "open":
        print(client.open().rpartition("/")[2])
    elif what:
        print(client.post(f"/v1/sessions/{what}/push", {"step": ACTION}).status)
    else:
        print(client.send("GET", "/health").status)
except (ConnectionResetError, BrokenPipeError):
    print("refused")
except PermissionError:
    print("no way")
except Exception as error:
    print(repr(error))
"""


def probe(path: Path, uid: int, what: str = "") -> str:
    """What a client of that user is told."""
    command = [sys.executable, "-c", PROBE, str(path), str(uid), str(ROOT), what]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def denied(uid: int, code: str) -> bool:
    """Whether that user may not do it."""
    changed = f"import os; os.setgroups([]); os.setgid({uid}); os.setuid({uid})\n{code}"
    done = subprocess.run([sys.executable, "-c", changed], capture_output=True, check=False)
    return b"PermissionError" in done.stderr


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


def test_a_second_server_is_refused(tmp_path: Path, run: Callable[..., Ran]) -> None:
    path = tmp_path / "run" / "guard.sock"
    server = start_slow(path, 1)
    ran = run("nowhere", "--socket", path)
    assert ran.status == 1
    assert "no other server" in ran.err
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    server.send_signal(signal.SIGTERM)
    assert server.wait(20) == 0
