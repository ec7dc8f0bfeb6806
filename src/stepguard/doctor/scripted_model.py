"""A model on loopback that says what a script tells it to, in the words of both coding agents."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from stepguard.doctor.wire import Calls, anthropic_events, responses_events

Turn = Calls | Callable[[dict[str, Any]], Calls]
"""What the model wants in one turn, or how it gets that from the request."""


class ScriptedModel:
    """`turns` are said one after another, then "done". `asked` are the requests that wanted a turn;
    `outside` what a program wanted of other hosts, which it does not get."""

    def __init__(
        self, turns: Sequence[Turn], on_turn: Callable[[int], None] = lambda number: None
    ) -> None:
        self.turns, self.on_turn = list(turns), on_turn
        self.asked: list[dict[str, Any]] = []
        self.outside: list[str] = []
        self.port = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def next_turn(self, request: dict[str, Any]) -> tuple[int, Calls]:
        """The number and the calls of the turn that a request gets."""
        with self._lock:
            self.asked.append(request)
            number = len(self.asked) - 1
            self.on_turn(number)
        turn = self.turns[number] if number < len(self.turns) else ()
        return number, turn(request) if callable(turn) else turn


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: ScriptedModel

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        path = self.path.partition("?")[0]
        if not request.get("tools"):  # a title for the conversation, a count of tokens
            self._say_small(path)
        elif path.endswith("/responses"):
            self._stream(responses_events(*self.model.next_turn(request)))
        else:
            self._stream(anthropic_events(*self.model.next_turn(request)))

    def do_GET(self) -> None:
        self._send(b"{}", "application/json", 404)

    def do_CONNECT(self) -> None:
        self.model.outside.append(self.path)
        self._send(b"", "text/plain", 403)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _say_small(self, path: str) -> None:
        if path.endswith("/count_tokens"):
            self._send(b'{"input_tokens":1}', "application/json")
        elif path.endswith("/responses"):
            self._stream(responses_events(0, ()))
        else:
            self._stream(anthropic_events(0, ()))

    def _stream(self, events: Sequence[dict[str, Any]]) -> None:
        lines = (f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)
        self._send("".join(lines).encode(), "text/event-stream")

    def _send(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Silent."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A program that goes without saying so is no mistake of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@contextmanager
def scripted_model(
    turns: Sequence[Turn], on_turn: Callable[[int], None] = lambda number: None
) -> Iterator[ScriptedModel]:
    """A running one. `on_turn` is called with the number of every turn that is asked for."""
    model = ScriptedModel(turns, on_turn)
    handler = type("Handler", (_Handler,), {"model": model})
    with _Server(("127.0.0.1", 0), handler) as server:
        model.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield model
        finally:
            server.shutdown()
            thread.join()
