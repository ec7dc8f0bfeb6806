"""A client of the server, with nothing but the standard library."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any


class UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float = 30) -> None:
        super().__init__("stepguard", timeout=timeout)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass(frozen=True)
class Answer:
    """status, headers (names in small letters), and the body as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, str]:
        found: dict[str, str] = self.json["error"]
        assert set(found) == {"type", "where", "expected", "got", "hint"}
        return found


@dataclass
class Client:
    """A connection per call, so that calls of several threads do not mix."""

    path: Path
    timeout: float = 30
    headers: dict[str, str] = field(default_factory=dict)

    def connection(self) -> HTTPConnection:
        return UnixConnection(self.path, self.timeout)

    def send(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """One request; bytes are sent as they are, anything else as JSON."""
        connection = self.connection()
        try:
            named = {"Content-Type": "application/json"} | self.headers
            named |= {name.replace("_", "-"): value for name, value in headers.items()}
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            with suppress(BrokenPipeError):  # who is refused early may be cut off, after the answer
                connection.request(method, path, data, named)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def post(self, path: str, body: object = None, **headers: str) -> Answer:
        return self.send("POST", path, {} if body is None else body, **headers)

    def open(self, **options: Any) -> str:
        """The path of a new session."""
        answer = self.post("/v1/sessions", options)
        assert answer.status == 201, answer.body
        return f"/v1/sessions/{answer.json['session']}"

    def stream(
        self, path: str, method: str = "GET", body: object = None, **headers: str
    ) -> tuple[HTTPConnection, HTTPResponse]:
        """An answer that is read while it comes."""
        connection = self.connection()
        named = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, named)
        return connection, connection.getresponse()


def events(response: HTTPResponse) -> Iterator[tuple[int | None, str, Any]]:
    """(number, kind, data) of every event until the stream ends; comments are left out."""
    number, kind = None, ""
    for raw in response:
        name, _, value = raw.decode().rstrip("\n").partition(": ")
        if name == "id":
            number = int(value)
        elif name == "event":
            kind = value
        elif name == "data":
            yield number, kind, json.loads(value)
            number, kind = None, ""


ACTION = {"role": "agent", "thought": "I do it.", "action": "send(report)"}
USER = {"role": "user", "content": "Send the report."}
