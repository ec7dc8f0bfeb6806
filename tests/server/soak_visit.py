"""A client that opens sessions, calls in any order, breaks off and goes; and what it saw."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.server.client import ACTION, Answer, Client, events

_WORDS = ("read", "send", "17 records", "safe", "unsafe")


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
