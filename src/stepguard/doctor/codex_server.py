"""What Codex itself says about its hooks, asked of its app server over standard input."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stepguard.errors import DoctorError

_SECONDS = 30.0


class CodexServer:
    """One app server, initialized."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self._number = process, 0
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def hooks(self, folder: Path) -> list[dict[str, Any]]:
        """The hooks that hold in a folder, as `hooks/list` gives them: eventName, command, matcher,
        timeoutSec, enabled, trustStatus, key, currentHash and others. Raises DoctorError."""
        found = self.call("hooks/list", {"cwds": [str(folder)]})
        entries = found.get("data")
        if not isinstance(entries, list):
            raise DoctorError("codex hooks/list", expected="data", got=repr(found)[:200])
        return [hook for entry in entries for hook in entry.get("hooks", ())]

    def call(self, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The result of one request. Raises DoctorError."""
        self._number += 1
        self.tell({"id": self._number, "method": method, "params": parameters})
        until = time.monotonic() + _SECONDS
        while True:
            try:
                line = self._lines.get(timeout=max(until - time.monotonic(), 0.0))
                answer = json.loads(line)
            except (queue.Empty, ValueError) as error:
                raise DoctorError(f"codex {method}", expected="an answer", got="none") from error
            if isinstance(answer, dict) and answer.get("id") == self._number:
                if isinstance(answer.get("result"), dict):
                    return dict(answer["result"])
                raise DoctorError(f"codex {method}", expected="a result", got=line[:200].strip())

    def tell(self, message: Mapping[str, Any]) -> None:
        """Sends a message. Raises DoctorError."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise DoctorError("codex app-server", expected="a reader", got=str(error)) from error

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")


@contextmanager
def codex_server(
    program: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[CodexServer]:
    """`codex app-server` in a folder. Raises DoctorError where it does not start."""
    try:
        process = subprocess.Popen(
            [*program, "app-server"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    except OSError as error:
        raise DoctorError(program[0], expected="Codex", got=str(error)) from error
    try:
        server = CodexServer(process)
        server.call("initialize", {"clientInfo": {"name": "stepguard", "version": "0"}})
        server.tell({"method": "initialized"})
        yield server
    finally:
        process.kill()
        process.communicate()
