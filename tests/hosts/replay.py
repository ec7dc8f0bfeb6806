"""A real trajectory as a play."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.conftest import shared_path
from tests.hosts.plays import Call, Play

TURNS = 20


def real_play() -> Play:
    """The first labelled trajectory in which an agent calls 20 tools one after the other.

    The test that asks for it is skipped where the data is absent.
    """
    with gzip.open(shared_path("data", "openagentsafety.jsonl.gz")) as file:
        for line in file:
            record = json.loads(line)
            if (play := _play(record)) is not None:
                return play
    raise ValueError("no trajectory of this form")


def _play(record: dict[str, Any]) -> Play | None:
    steps = [step for part in record["contents"] for step in part][: 2 * TURNS]
    roles = ["user", *["agent", "environment"] * TURNS][: len(steps)]
    if len(steps) < 2 * TURNS or [step["role"] for step in steps] != roles:
        return None
    turns, results = [], {}
    for number, step in enumerate(steps[1::2]):
        action = json.loads(step["action"])
        if not isinstance(action, dict) or not step["thought"]:
            return None
        turns.append([Call(f"call-{number}", action["name"], action["arguments"])])
        after = steps[2 * number + 2 :][:1]
        results[f"call-{number}"] = after[0]["content"] if after else "done"
    thoughts = [step["thought"] for step in steps[1::2]]
    system, user = record["profile"], steps[0]["content"]
    return Play(turns, system, user, thoughts, lambda call: results[call.id])
