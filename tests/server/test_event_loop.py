"""No request holds the server's event loop for more than 20 ms."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepguard.server import Settings
from tests.front.fakes import FakeEngine, make_guard
from tests.front.holds import MOST_S, Holds
from tests.server.serving import on_thread

MIB = 1 << 20


def filled(name: str, unit: bytes, rest: dict[str, Any]) -> bytes:
    """A body of a MiB: a list of the same value again and again, and other keys."""
    start = json.dumps(rest)[:-1].encode() + (b", " if rest else b"") + f'"{name}": ['.encode()
    end = unit + b"]}"
    return start + (unit + b",") * ((MIB - len(start) - len(end)) // (len(unit) + 1)) + end


MESSAGE = json.dumps({"role": "user", "content": "again and again " * 64}).encode()
HOOK = {"session_id": "s", "hook_event_name": "PostToolUse", "tool_name": "Bash", "tool_input": {}}
GIANTS = {
    "a list of messages": ("/v1/decide", filled("messages", MESSAGE, {"key": "k"}), 200),
    "numbers": ("/v1/decide", filled("messages", b"1", {"key": "k"}), 413),
    "strings": ("/v1/decide", filled("messages", b'""', {"key": "k"}), 413),
    "lists": ("/v1/decide", filled("messages", b"[]", {"key": "k"}), 413),
    "a result of lists": ("/v1/hooks/codex", filled("tool_response", b"[]", HOOK), 200),
    "texts": ("/v1/hooks/codex", filled("tool_response", b'"' + b"x" * 60 + b'"', HOOK), 200),
    "one text": ("/v1/moderations", b'{"input": "' + b"x" * (MIB - 20) + b'"}', 200),
}


@pytest.mark.parametrize("name", GIANTS)
def test_giants_do_not_hold_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tests.front.fakes.hash_logits", lambda _, rows: np.zeros(len(rows), np.float32)
    )
    path, body, status = GIANTS[name]
    settings = Settings(deadline_ms=400)
    with (
        make_guard(FakeEngine(context=1 << 12)) as guard,
        Holds() as holds,
        on_thread(guard, tmp_path, settings) as (client, server),
    ):
        assert server._loop is not None
        asyncio.run_coroutine_threadsafe(holds.watch(), server._loop)
        assert client.post(path, body, Stepguard_Deadline_Ms="400").status == status
    assert "the loop" in holds.found
    assert holds.longest < (MOST_S, "")


def test_a_call_that_holds_it_is_seen() -> None:
    text = json.dumps([1] * (1 << 19))

    def run() -> None:
        json.loads(text)

    with Holds() as holds:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert holds.longest > (MOST_S / 2, "")
