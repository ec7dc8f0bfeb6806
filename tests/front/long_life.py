"""A guard's long life in a process of its own: random calls on many sessions, then all is counted.

`python -m tests.front.long_life MODEL PUSHES SEED` prints one JSON object. A process of
its own, because beside PyTorch a leak of many MB would drown in the resident memory.
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepguard import Guard, Step
from stepguard.runtime import Engine
from stepguard.session import Session
from stepguard.shelf import Shelves
from stepguard.taxonomy import Verdict
from stepguard.track import Track

_AT_ONCE = 12
_CHUNK = 64  # the scratch of a forward is part of the memory
_WORDS = "read send the file mail to from safe unsafe 17 records attacker report 129.50 delete"
_CALLS = ["push"] * 40 + ["check"] * 25 + ["observe", "peek", "judge", "turn"] * 7 + ["fork"]
_LEVELS = ("pages_used", "slots_used", "memory_used")


@dataclass(eq=False)
class Talk:
    """A session, the checks that are open on it, and the step that may still be taken back."""

    session: Session
    open: list[Verdict] = field(default_factory=list)
    last: Verdict | None = None

    def moved(self, last: Verdict | None = None) -> None:
        self.open, self.last = [], last


class Life:
    """`done` counts the calls, `reasons` the answers."""

    def __init__(self, guard: Guard, seed: int) -> None:
        self.guard, self.random = guard, random.Random(seed)
        self.talks: list[Talk] = []
        self.done: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    def run(self, pushes: int) -> None:
        """Random calls until so many are pushes; one in fifty ends a session. Then all end."""
        until = self.done["push"] + pushes
        while self.done["push"] < until:
            while len(self.talks) < _AT_ONCE:
                self._open()
            self._call(self.random.choice(self.talks))
            if len(self.talks) > _AT_ONCE or self.random.random() < 0.06:
                self._end()
        while self.talks:
            self._end()

    def _open(self) -> None:
        window = self.random.choice(("strict", "window"))
        self.talks.append(Talk(self.guard.session(self._text(), window=window)))  # type: ignore[arg-type]
        self.done["session"] += 1

    def _end(self) -> None:
        """Closed, or dropped as it is."""
        talk = self.talks.pop(self.random.randrange(len(self.talks)))
        name = self.random.choice(("close", "abandon"))
        self.done[name] += 1
        if name == "close":
            talk.session.close()

    def _call(self, talk: Talk) -> None:
        decide = ["commit", "reject"] * 7 * bool(talk.open)
        decide += ["take back"] * 7 * (talk.last is not None)
        name = self.random.choice(_CALLS + decide)
        self.done[name] += 1
        note = self.random.choice((None, None, "That was blocked."))
        if name == "fork":
            self.talks.append(Talk(talk.session.fork()))
        elif name == "commit":
            verdict = self.random.choice(talk.open)
            talk.session.commit(verdict)
            talk.moved(verdict)
        elif name == "reject":
            verdict = talk.open.pop(self.random.randrange(len(talk.open)))
            talk.session.reject(verdict, note)
            if note is not None:
                talk.moved()
        elif name == "take back":
            assert talk.last is not None
            talk.session.reject(talk.last, note)
            talk.moved()
        else:
            self._read(talk, name)

    def _read(self, talk: Talk, name: str) -> None:
        late = self.random.choice([None] * 6 + [0.05, 0.5, 2.0])
        if name == "judge":
            self._count(talk.session.judge(deadline_ms=late))
        elif name == "turn":
            actions = [self._text() for _ in range(self.random.randint(1, 3))]
            turn = talk.session.check_turn(self._text(), actions, deadline_ms=late)
            talk.open.append(self._count(turn.joint))
        else:
            role = self.random.choice((Step.user, Step.environment, _action))
            verdict = getattr(talk.session, name)(role(self._text()), deadline_ms=late)
            if name == "observe":
                talk.moved()
            elif name == "push":
                talk.moved(self._count(verdict))
            else:
                self._count(verdict)
                talk.open += [verdict] if name == "check" else []

    def _count(self, verdict: Verdict) -> Verdict:
        self.reasons[verdict.reason.value if verdict.reason else "answered"] += 1
        return verdict

    def _text(self) -> str:
        return " ".join(self.random.choices(_WORDS.split(), k=self.random.choice((0, 2, 5, 20))))


def _action(text: str) -> Step:
    return Step.agent("I do it.", f"call({text})")


def at_rest(guard: Guard) -> None:
    """Waits until nothing runs: what was given up at a deadline goes on for a moment."""
    before, until = -1.0, time.monotonic() + 20
    while (now := guard.stats()["tokens"]) != before and time.monotonic() < until:
        before = now
        time.sleep(0.2)


def _entries(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


def held(guard: Guard) -> dict[str, Any]:
    """What is held while nobody uses anything: of the engine, of the process, of Python."""
    at_rest(guard)
    gc.collect()
    kinds = Counter(type(item) for item in gc.get_objects())
    return {name: guard.stats()[name] for name in _LEVELS} | {
        "descriptors": _entries("/proc/self/fd"),
        "threads": _entries("/proc/self/task"),
        "sessions": kinds[Session],
        "tracks": kinds[Track],
        "verdicts": kinds[Verdict],
    }


def resident() -> int:
    """Bytes of the process that lie in memory, as they are: nothing is trimmed before."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def answer(guard: Guard) -> str:
    """The bits of a verdict on a small trajectory."""
    with guard.session("probe") as session:
        session.observe(Step.user("Send the report."))
        margin = session.push(_action("send")).margin
    assert margin is not None
    return margin.hex()


def count_evictions() -> list[int]:
    """A list that gets a 1 for every State that had to make room."""
    evict, evicted = Shelves.evict, list[int]()

    def counted(self: Shelves) -> bool:
        gone = evict(self)
        evicted.extend([1] * gone)
        return gone

    Shelves.evict = counted  # type: ignore[method-assign]
    return evicted


def scarce(model: str) -> int:
    """Bytes that twelve sessions outgrow: the least with some 3,000 tokens of KV pages."""
    for memory in range(100_000, 100_000_000, 50_000):
        try:
            engine = Engine(model, threads=1, memory=memory, chunk=_CHUNK)
        except ValueError:  # less than an engine can work with
            continue
        pages = engine.stats()["pages_total"]
        engine.close()
        if pages >= 96:
            return memory
    raise AssertionError("no memory is enough")


def main(model: str, pushes: int, seed: int) -> None:
    evicted = count_evictions()
    with Guard.load(
        model, memory=scarce(model), threads=1, chunk=_CHUNK, save_prefix=False
    ) as guard:
        first, start, life = answer(guard), held(guard), Life(guard, seed)
        life.run(pushes // 4)  # touches every page, fills pools and caches
        warm, warm_resident = held(guard), resident()
        life.done.clear()
        life.run(pushes)
        end, end_resident = held(guard), resident()
        last = answer(guard)
    report = {"start": start, "warm": warm, "end": end, "resident": [warm_resident, end_resident]}
    report |= {"answers": [first, last], "evicted": len(evicted)}
    print(json.dumps(report | {"done": life.done, "reasons": life.reasons}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
