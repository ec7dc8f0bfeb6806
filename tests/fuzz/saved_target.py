"""Saved verdicts, as `stepguard report` reads them; what it makes of them is a page."""

from __future__ import annotations

import json

from stepguard.errors import TrajectoryError
from stepguard.report import Shown, page, read_judgement, read_saved
from tests.fuzz.mutate import mutate_json
from tests.fuzz.target import Target, as_file
from tests.report.pages import Read, diagnosis, steps_with, value, verdict

_STEPS = steps_with("")


def run(data: bytes) -> None:
    path = as_file("saved.json", data)
    found = read_judgement(read_saved(str(path)), 0, "saved.json")
    text = page(Shown("saved.json", _STEPS, found))
    text.encode()
    read = Read(text)
    assert read.open == []
    assert all(not key.startswith("on") for _, keys in read.tags for key, _ in keys)


def seeds() -> list[bytes]:
    verdicts = [
        verdict(1),
        verdict(3, status="unsafe", score=0.9, diagnosis=diagnosis(), rationale="so"),
        verdict(5, status="unavailable", reason="memory", message="m", margin=None, score=None),
    ]
    return [json.dumps(value(verdicts)).encode(), json.dumps(value(verdicts[:1])).encode()]


_WORDS = (b"null", b'"status":"unsafe"', b"1e999", b"[[0,1]]", b"<script>")

TARGET = Target("saved", run, seeds, (TrajectoryError,), mutate_json, _WORDS)
