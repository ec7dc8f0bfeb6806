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
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepguard.audit import verify
from tests.server.client import ACTION, Answer, Client, events
from tests.server.serving import ROOT, as_command

_CLIENTS = 16
_IDLE_S = 5
_PHASES = (0.25, 0.25, 0.5)  # shares of the time; after each, everybody has gone
_WORDS = ("read", "send", "17 records", "safe", "unsafe")
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


@dataclass
class Tally:
    """What all clients saw. `margins`: what was read -> the answer, the same for everybody."""

    done: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    margins: dict[tuple[str, ...], float] = field(default_factory=dict)
    told: dict[str, tuple[Counter[Any], int]] = field(default_factory=dict)
    """Of a session: what its reader saw, and how many verdicts nobody waited for."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, text: str) -> None:
        with self.lock:
            self.faults.append(text)

    def verdict(self, history: tuple[str, ...], verdict: dict[str, Any]) -> None:
        """Every history has one margin, whoever asks and whatever else is read."""
        with self.lock:
            self.reasons[verdict["reason"] or "answered"] += 1
            margin = verdict["margin"]
            if margin is not None and self.margins.setdefault(history, margin) != margin:
                self.faults.append(f"two answers on {history}")


class Visit:
    """One session of one client, with a reader of its events."""

    def __init__(self, client: Client, rng: random.Random, tally: Tally) -> None:
        self.client, self.rng, self.tally = client, rng, tally
        self.history: tuple[str, ...] = ()
        self.answers: list[dict[str, Any]] = []
        self.broken = 0
        self.seen: list[tuple[int | None, str, Any]] = []
        self._there = threading.Event()  # its reader is
        self._stays = False  # it goes and comes back no more
        self._lock = threading.Lock()

    def run(self) -> Callable[[], None]:
        """Gives what compares, for when the session has ended."""
        opened = self._patient(lambda: self.client.post("/v1/sessions", {"diagnose": False}))
        name = opened.json["session"]
        path = f"/v1/sessions/{name}"
        reader = threading.Thread(target=self._read, args=(path, self.rng.random() < 0.3))
        reader.start()
        for _ in range(self.rng.randint(1, 12)):
            self._call(path)
        with self._lock:
            self._stays = True
        if not self._there.wait(60):  # nobody can read the events of a session that has ended
            self.tally.fault("a reader was not let in")
        ending = self.rng.choice(("close", "close", "idle"))
        self.tally.done[ending] += 1
        if ending == "close":
            self._patient(lambda: self.client.send("DELETE", path))

        def compare() -> None:
            reader.join(60)
            self._compare(name)

        return compare

    def _patient(self, ask: Callable[[], Answer]) -> Answer:
        """Comes back when it is told to."""
        while (answer := ask()).status == 429:
            self.tally.done["429"] += 1
            time.sleep(min(1.0, float(answer.headers["retry-after"])) * self.rng.random())
        if answer.status not in (200, 201):
            self.tally.fault(f"status {answer.status}: {answer.body[:300]!r}")
        return answer

    def _call(self, path: str) -> None:
        name = self.rng.choice(("push", "push", "check", "check", "observe", "judge", "break"))
        text = self.rng.choice(_WORDS)
        step = ACTION | {"action": text}
        self.tally.done[name] += 1
        if name == "break":
            self._break(path)
            return
        if name == "observe":
            step = {"role": "environment", "content": text}
            self._patient(lambda: self.client.post(f"{path}/observe", {"step": step}))
            self.history += (f"environment {text}",)
            return
        body: dict[str, Any] = {} if name == "judge" else {"step": step}
        if self.rng.random() < 0.1:
            body["deadline_ms"] = self.rng.choice((0.1, 2, 20))
        answer = self._patient(lambda: self.client.post(f"{path}/{name}", body)).json
        if "verdict" not in answer:
            return
        self.answers.append(answer)
        asked = self.history if name == "judge" else (*self.history, f"action {text}")
        self.tally.verdict(asked, answer["verdict"])
        if name == "push":
            self.history = asked
        elif name == "check":
            decision = self.rng.choice(("commit", "reject"))
            decided = {"id": answer["id"]}
            self._patient(lambda: self.client.post(f"{path}/{decision}", decided))
            self.history = asked if decision == "commit" else self.history

    def _break(self, path: str) -> None:
        """Asks, and is gone before the answer. Judging changes nothing that later calls read."""
        connection = self.client.connection()
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"{path}/judge", b"{}", headers)
        if self.rng.random() < 0.5:
            time.sleep(self.rng.random() * 0.02)
        connection.close()
        self.broken += 1

    def _read(self, path: str, slow: bool) -> None:
        """All events; half of the readers break off once and come back."""
        after, breaks = 0, self.rng.random() < 0.5
        while True:
            connection, response = self.client.stream(f"{path}/events", Last_Event_ID=str(after))
            if response.status != 200:
                self.tally.fault(f"a reader got {response.status}")
                connection.close()
                return
            self._there.set()
            for event in events(response):
                self.seen.append(event)
                after = event[0] or after
                if event[1] == "closed":
                    connection.close()
                    return
                if slow:
                    time.sleep(0.1)
                if breaks and after == 3:
                    breaks = False
                    if self._leaves():
                        break
            connection.close()

    def _leaves(self) -> bool:
        with self._lock:
            if not self._stays:
                self._there.clear()
            return not self._stays

    def _compare(self, name: str) -> None:
        """The reader saw every answer once, in order, and at most the broken calls beside them."""
        verdicts = [event for event in self.seen if event[1] == "verdict"]
        numbers = [number for number, _, _ in verdicts]
        known = {answer["id"]: answer for answer in self.answers}
        with self.tally.lock:
            self.tally.done["compared"] += 1
            facts = (recorded_as(data["call"], data["verdict"]) for _, _, data in verdicts)
            self.tally.told[name] = Counter(facts), self.broken
        if not self.seen or self.seen[-1][1] != "closed":
            self.tally.fault(f"a stream has no end: {self.seen}")
        elif numbers != list(range(1, len(numbers) + 1)):
            self.tally.fault(f"events {numbers}")
        elif any(known.pop(number, data) != data for number, _, data in verdicts) or known:
            self.tally.fault(f"answers {list(known)} are not among the events")
        elif len(numbers) > len(self.answers) + self.broken:
            self.tally.fault("more verdicts than calls")


def visit(client: Client, seed: int, until: float, tally: Tally) -> None:
    """One client after the other."""
    rng, later = random.Random(seed), []
    while time.monotonic() < until:
        try:
            later.append(Visit(client, rng, tally).run())
        except Exception as error:
            tally.fault(f"{type(error).__name__}: {error}")
            time.sleep(0.2)
        if len(later) > 8:
            later.pop(0)()
    for compare in later:
        compare()


def recorded_as(call: str, verdict: dict[str, Any]) -> tuple[Any, ...]:
    """What tells verdicts of a session apart, as events and as lines of the log."""
    return call, verdict["status"], verdict["reason"], verdict["margin"]


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
