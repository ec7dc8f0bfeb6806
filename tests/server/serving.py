"""Servers for tests: on a thread of this process, or as the command in one of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepguard.audit import Recorder
from stepguard.guard import Guard
from stepguard.policy import Policy
from stepguard.server import Settings, unix_socket
from stepguard.server.run import Server, make_server
from tests.front.fakes import FakeEngine, FakeTicket
from tests.server.client import Client

ROOT = Path(__file__).resolve().parents[2]


class Gate(FakeEngine):
    """A fake engine that answers while its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def submit(self, *arguments: Any, **options: Any) -> FakeTicket:
        ticket = super().submit(*arguments, **options)
        answer = ticket.wait

        def wait(timeout: float | None = None) -> Any:
            if not self.gate.wait(timeout):
                raise TimeoutError
            return answer(timeout)

        ticket.wait = wait  # type: ignore[method-assign]
        return ticket


@contextmanager
def on_thread(
    guard: Guard,
    folder: Path,
    settings: Settings | None = None,
    policy: Policy | None = None,
    recorder: Recorder | None = None,
) -> Iterator[tuple[Client, Server]]:
    """A server on a thread, and a client of it; it is ended as by a signal."""
    folder.chmod(0o700)
    ready = threading.Event()
    server = make_server(guard, settings or Settings(), ready.set, policy, recorder)
    with unix_socket(folder / "guard.sock", shared=False) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(10)
            yield Client(folder / "guard.sock"), server
        finally:
            server.handle_exit(signal.SIGTERM, None)
            thread.join(20)
            assert not thread.is_alive()


@dataclass
class Process:
    """The command, running. `where` is what it says it listens on."""

    process: subprocess.Popen[str]
    where: str

    def end(self, seconds: float = 60) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@contextmanager
def as_command(
    model: Path, *words: object, prefix: Sequence[str] = (), **environment: str
) -> Iterator[Process]:
    """`stepguard serve MODEL WORDS`, ready; killed at the end where it still runs."""
    command = [*prefix, sys.executable, "-m", "stepguard", "serve", str(model), "--threads", "1"]
    process = subprocess.Popen(
        [*command, *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("listening on "):
                break
        else:
            assert process.stderr is not None
            raise AssertionError("".join(said) + process.stderr.read())
        yield Process(process, said[-1].removeprefix("listening on ").strip())
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
