"""A signal drains a server, and a second one finds no place beside it."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.cli.ran import Ran
from tests.server.client import ACTION, Answer, Client, events
from tests.server.slow_server import level, start_slow


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
