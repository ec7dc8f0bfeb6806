"""Many clients on one server for a long time: nothing is lost, doubled, leaked or mixed up.

`python -m tests.server.soak --minutes 30` prints one JSON object; its exit status is 0 when all
holds. Sixteen clients at a time open sessions, push, check, commit, reject, break off in the middle
of a call, and go with or without a word; readers of their events are quick, slow or cut off; a
client in a process of its own is killed now and then. What every reader saw is compared with the
answers, and with the server's log of decisions, whose chain has to hold.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from stepguard.audit import verify
from tests.server.client import Client
from tests.server.serving import ROOT, as_command
from tests.server.soak_visit import Tally, recorded_as, visit

_CLIENTS = 16
_IDLE_S = 5
_PHASES = (0.25, 0.25, 0.5)  # shares of the time; after each, everybody has gone
_KILLED = """
import os, sys
from pathlib import Path
from tests.server.client import *
client = Client(Path(sys.argv[1]))
connection, response = client.stream("/v1/sessions", "POST", {})
path = "/v1/sessions/" + next(events(response))[2]["session"]
for _ in range(3):
    client.post(f"{path}/push", {"step": ACTION})
client.connection().request("POST", f"{path}/push", b"{", {"Content-Length": "9"})
os.kill(os.getpid(), 9)
"""


def compare_log(log: Path, tally: Tally) -> dict[str, Any]:
    """The chain holds, and the log has for every session what its reader saw, once; beside that at
    most the verdicts that nobody waited for."""
    found = verify([log])
    if not found.whole or found.torn:
        tally.fault(f"the log: {found}")
    lines: dict[str, Counter[Any]] = {}
    for file in found.files:
        with Path(file).open(encoding="ascii") as opened:
            for line in map(json.loads, opened):
                if line["kind"] != "decision":
                    continue
                if line["about"]["call"] in ("push", "check", "judge"):
                    facts = recorded_as(line["about"]["call"], line["verdict"])
                    lines.setdefault(line["session"], Counter())[facts] += 1
    for name, (told, broken) in tally.told.items():
        there = lines.get(name, Counter())
        if told - there:
            tally.fault(f"session {name}: told, but not recorded: {told - there}")
        if (there - told).total() > broken:
            tally.fault(f"session {name}: recorded, but not told: {there - told}")
    return {"lines": found.lines, "sessions": len(lines)}


def held(client: Client, pid: int) -> dict[str, float]:
    """What the server holds when all clients have gone."""
    until = time.monotonic() + 30 + 4 * _IDLE_S
    while True:
        text = client.send("GET", "/metrics").body.decode()
        found = {
            line.split()[0]: float(line.split()[1])
            for line in text.splitlines()
            if line.startswith(("stepguard_sessions ", "stepguard_calls ", "stepguard_engine_"))
        }
        if not found["stepguard_sessions"] + found["stepguard_calls"] or time.monotonic() > until:
            break
        time.sleep(0.2)
    names = ("stepguard_sessions", "stepguard_calls", "stepguard_engine_pages_used")
    levels = {name: found[name] for name in names}
    counts = []
    for _ in range(10):  # the server may not have noticed yet that our own connection ended
        time.sleep(0.05)
        counts.append(len(list(Path(f"/proc/{pid}/fd").iterdir())))
    return levels | {"descriptors": min(counts)}


def resident(pid: int) -> int:
    """Bytes of a process that lie in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def phase(client: Client, seconds: float, seed: int, tally: Tally) -> None:
    """Sixteen clients, and one that is killed every few seconds."""
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=visit, args=(client, seed + number, until, tally))
        for number in range(_CLIENTS)
    ]
    for thread in threads:
        thread.start()
    while time.monotonic() < until:
        command = [sys.executable, "-c", _KILLED, str(client.path)]
        subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        tally.done["killed"] += 1
        time.sleep(min(2.0, max(0.0, until - time.monotonic())))
    for thread in threads:
        thread.join()


def soak(model: Path, minutes: float, folder: Path) -> dict[str, Any]:
    """All that was seen, and what the server held: at rest, and after each phase."""
    path, log = folder / "run" / "guard.sock", folder / "decisions.jsonl"
    tally = Tally()
    words = ("--socket", path, "--idle", _IDLE_S, "--queue", 8, "--deadline-ms", 60_000)
    words = (*words, "--audit", log)
    with as_command(model, *words, XDG_CACHE_HOME=str(folder / "cache")) as server:
        client, pid = Client(path, timeout=120), server.process.pid
        client.post("/v1/moderations", {"input": "first"})
        levels, memory = [held(client, pid)], []
        for share in _PHASES:
            phase(client, minutes * 60 * share, len(levels) * 1000, tally)
            levels.append(held(client, pid))
            memory.append(resident(pid))
        status = server.end()
    audit = compare_log(log, tally)
    return {
        "levels": levels,
        "memory": memory,
        "status": status,
        "audit": audit,
        "done": tally.done,
        "reasons": tally.reasons,
        "histories": len(tally.margins),
        "faults": tally.faults[:20],
    }


def complaints(report: dict[str, Any]) -> list[str]:
    """What does not hold."""
    found = list(report["faults"])
    first, *later = report["levels"]
    found += [f"held {one}, at rest {first}" for one in later if one != first]
    if report["memory"][-1] > 1.1 * report["memory"][0]:
        found.append(f"memory grew: {report['memory']}")
    if report["status"] != 0:
        found.append(f"the server ended with {report['status']}")
    if set(report["reasons"]) - {"answered", "deadline"}:
        found.append(f"reasons {report['reasons']}")
    missing = {"push", "check", "observe", "judge", "break", "close", "idle", "killed"}
    missing -= set(report["done"])
    return found + [f"never done: {name}" for name in sorted(missing)]


def make_model(folder: Path) -> Path:
    """A random guard that is small and has room for long sessions."""
    from stepguard.export import export_model
    from tests.export.tiny import make_checkpoint

    checkpoint = make_checkpoint(
        folder / "checkpoint", "qwen3", seed=5, max_position_embeddings=4096
    )
    export_model(checkpoint, folder / "model", quant="int8", template="short")
    return folder / "model"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as name:
        report = soak(make_model(Path(name)), minutes, Path(name))
    found = complaints(report)
    print(json.dumps({**report, "complaints": found}, indent=1))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
