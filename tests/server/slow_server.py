"""A server whose engine waits, in a process of its own, and what its metrics say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.server.client import Client
from tests.server.serving import ROOT


def level(client: Client, name: str) -> float:
    text = client.send("GET", "/metrics").body.decode()
    return float(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[1])


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
