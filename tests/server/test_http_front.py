"""Who is turned away before anything is read, and how every refusal looks."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from stepguard.server import Settings, tcp_socket
from stepguard.server.run import make_server
from tests.front.fakes import make_guard
from tests.server.client import ACTION, Answer, Client
from tests.server.serving import Gate, on_thread

TOKEN = "0123456789abcdef0123456789abcdef"


class TcpClient(Client):
    """The same over a port."""

    port = 0

    def connection(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)


@pytest.fixture
def tcp(engine: Gate) -> Iterator[TcpClient]:
    """A client that sends no token by itself."""
    ready = threading.Event()
    with make_guard(engine) as guard, tcp_socket(0) as listener:
        server = make_server(guard, Settings(token=TOKEN), ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        assert ready.wait(10)
        client = TcpClient(Path())
        client.port = listener.getsockname()[1]
        yield client
        server.handle_exit(signal.SIGTERM, None)
        thread.join(20)


def asked(tcp: TcpClient, **headers: str) -> Answer:
    return tcp.send("GET", "/health", **headers)


def test_a_port_wants_the_token(tcp: TcpClient) -> None:
    assert asked(tcp, Authorization=f"Bearer {TOKEN}").status == 200
    for wrong in ("", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \u00e9", TOKEN):
        answer = asked(tcp, Authorization=wrong)
        assert (answer.status, answer.error["type"]) == (401, "Unauthorized"), wrong
        assert TOKEN not in answer.body.decode()
    assert asked(tcp).status == 401


def test_a_port_wants_its_own_name(tcp: TcpClient) -> None:
    right = {"Authorization": f"Bearer {TOKEN}"}
    for name in (f"localhost:{tcp.port}", f"127.0.0.1:{tcp.port}", f"[::1]:{tcp.port}"):
        assert asked(tcp, Host=name, **right).status == 200
    for name in ("example.com", f"example.com:{tcp.port}", "localhost", f"localhost:{tcp.port}."):
        answer = asked(tcp, Host=name, **right)
        assert (answer.status, answer.error["type"]) == (421, "WrongHost")


def test_pages_are_turned_away(tcp: TcpClient, client: Client) -> None:
    for one in (tcp, client):
        headers = {"Authorization": f"Bearer {TOKEN}", "Origin": "http://localhost"}
        answer = one.send("GET", "/health", **headers)
        assert (answer.status, answer.error["where"]) == (403, "Origin")
        assert not [name for name in answer.headers if name.startswith("access-control")]
        preflight = one.send("OPTIONS", "/v1/sessions", Authorization=f"Bearer {TOKEN}")
        assert preflight.status == 405


def test_a_port_is_of_this_machine_only() -> None:
    with tcp_socket(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_giants_are_refused_by_their_length_and_by_their_bytes(
    engine: Gate, tmp_path: Path
) -> None:
    with (
        make_guard(engine) as guard,
        on_thread(guard, tmp_path, Settings(body_bytes=1000)) as (client, _),
    ):
        body = {"profile": "x" * 2000}
        answer = client.post("/v1/sessions", body)
        assert (answer.status, answer.error["type"]) == (413, "TooLarge")
        connection = client.connection()
        headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
        parts = iter([b'{"profile": "', b"x" * 2000, b'"}'])
        with suppress(BrokenPipeError):
            connection.request("POST", "/v1/sessions", parts, headers, encode_chunked=True)
        assert connection.getresponse().status == 413
        connection.close()
        assert client.post("/v1/sessions", {"profile": "x" * 900}).status == 201


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"profile":' * 100, "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "application/x-www-form-urlencoded", 415),
    ],
)
def test_what_is_no_json_is_named(client: Client, body: bytes, kind: str, status: int) -> None:
    answer = client.send("POST", "/v1/sessions", body, Content_Type=kind)
    assert answer.status == status
    assert answer.error["type"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/sessions", 405),
        ("POST", "/v1/sessions/none/push", 404),
        ("POST", "/v1/sessions/none/fly", 404),
        ("GET", "/v1/sessions/none/events", 404),
        ("DELETE", "/v1/sessions/none", 404),
    ],
)
def test_paths_that_are_not_there(client: Client, method: str, path: str, status: int) -> None:
    answer = client.send(method, path, {"step": ACTION} if method == "POST" else None)
    assert answer.status == status
    assert answer.error


def test_a_bug_is_no_traceback(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the secret of the day")

    monkeypatch.setattr("stepguard.session.Session.push", broken)
    path = client.open()
    answer = client.post(f"{path}/push", {"step": ACTION})
    assert (answer.status, answer.error["type"]) == (500, "Internal")
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body


def test_a_request_that_never_ends_is_cut_off(engine: Gate, tmp_path: Path) -> None:
    with (
        make_guard(engine) as guard,
        on_thread(guard, tmp_path, Settings(read_s=0.3)) as (client, _),
    ):
        head = b"POST /v1/sessions HTTP/1.1\r\nHost: stepguard\r\n"
        typed = head + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        for sent, first in ((b"", b""), (head, b""), (typed, b"HTTP/1.1 408 ")):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(10)
                connection.connect(str(client.path))
                connection.sendall(sent)
                answer = b""
                try:
                    while part := connection.recv(4096):
                        answer += part
                except ConnectionResetError:
                    pass
                assert answer.startswith(first)
                assert bool(answer) == bool(first)


def test_a_reader_that_takes_nothing_is_cut_off(engine: Gate, tmp_path: Path) -> None:
    with make_guard(engine) as guard:
        settings = Settings(write_s=0.3)
        with on_thread(guard, tmp_path, settings) as (client, server):
            path = client.open()
            with socket.socket(socket.AF_UNIX) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect(str(client.path))
                head = f"GET {path}/events HTTP/1.1\r\nHost: stepguard\r\n\r\n"
                connection.sendall(head.encode())
                (talk,) = server.app.shared.talks._open.values()
                for _ in range(2000):
                    client.post(f"{path}/judge")
                    if len(talk.verdicts) > 5 and not talk.events.readers:
                        break
                assert not talk.events.readers
            assert client.post(f"{path}/judge").status == 200


def test_metrics_count_and_hold_no_content(client: Client) -> None:
    path = client.open(profile="the secret of the day")
    client.post(f"{path}/push", {"step": ACTION})
    client.post(f"{path}/push", {"step": 1})
    text = client.send("GET", "/metrics").body.decode()
    assert "stepguard_sessions 1.0" in text
    assert 'stepguard_requests_total{status="200"} 1.0' in text
    assert 'stepguard_requests_total{status="400"} 1.0' in text
    assert "stepguard_verdict_seconds_count 1.0" in text
    assert "stepguard_engine_pages_total" in text
    assert "secret" not in text
    assert "send(report)" not in text
