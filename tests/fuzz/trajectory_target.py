"""Trajectories as `stepguard moderate` reads them: .json, .jsonl, .jsonl.gz, and a stream of steps.

The first byte of an input says which.
"""

from __future__ import annotations

import gzip
import json
from random import Random

from stepguard.errors import TrajectoryError
from stepguard.files import json_lines, read_trajectories
from stepguard.prompt import Step
from tests.fuzz.mutate import mutate_bytes, mutate_json
from tests.fuzz.target import Target, as_file

_JSON, _LINES, _PACKED, _STREAM = b"jlzs"
_NAMES = {_JSON: "one.json", _LINES: "many.jsonl", _PACKED: "many.jsonl.gz"}


def run(data: bytes) -> None:
    kind, data = data[:1], data[1:]
    if kind and (name := _NAMES.get(kind[0])):
        for named in read_trajectories(str(as_file(name, data))):
            for step in named.trajectory.steps:
                _check(step)
        return
    for where, value in json_lines(data.splitlines(), "standard input"):
        _check(Step.from_dict(value, where))


def _check(step: Step) -> None:
    for _, text in step.fields:
        assert isinstance(text.python, str)
        assert isinstance(text.json, str)
        assert text.empty in (True, False)
    assert step.is_action in (True, False)


def seeds() -> list[bytes]:
    steps = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "go"}, {"type": "image_url", "x": 1}],
        },
        {"role": "agent", "thought": "so", "action": {"name": "rm", "arguments": {"n": 1e9}}},
        {"role": "environment", "content": {"ok": True, "rows": [1, None, "ß"]}, "extra": 1},
    ]
    flat = {"id": "a", "profile": "an agent", "contents": steps}
    rounds = {"profile": None, "contents": [steps[:2], steps[2:]]}
    lines = b"\n".join(json.dumps(value).encode() for value in (flat, rounds))
    stream = b"\r\n".join(json.dumps(step).encode() for step in steps)
    one = [b"j" + json.dumps(value).encode() for value in (flat, rounds)]
    return [*one, b"l" + lines, b"z" + gzip.compress(lines, mtime=0), b"s" + stream]


def _mutate(data: bytes, random: Random) -> bytes:
    kind, rest = data[:1], data[1:]
    if kind == b"z":
        if random.randrange(2):
            return kind + mutate_bytes(rest, random)
        return kind + gzip.compress(_mutate_lines(seeds()[2][1:], random), mtime=0)
    return kind + (mutate_json(rest, random) if kind == b"j" else _mutate_lines(rest, random))


def _mutate_lines(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    lines[at] = mutate_json(lines[at], random)
    return b"\n".join(lines)


_WORDS = (
    b'"role":"agent"',
    b'"content":',
    b'"contents":[',
    b'"type":"text"',
    b'"profile":',
    b"[[",
    b"\n",
)

TARGET = Target("trajectory", run, seeds, (TrajectoryError,), _mutate, _WORDS)
