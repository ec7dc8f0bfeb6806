"""Results that are too large to be read are cut, and that is seen; nothing else of an event is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepguard.server import Settings
from stepguard.server.faults import Fault
from stepguard.server.hook_bodies import cut, shortened
from tests.front.fakes import FakeEngine, asked_texts, make_guard
from tests.front.holds import MOST_S, Holds
from tests.server.serving import on_thread

MIB = 1 << 20
SIGNS = st.text(alphabet='a"\\[]{},: \u00e9', max_size=40)
HEAD = {"session_id": "s", "hook_event_name": "PostToolUse", "tool_name": "Read", "tool_input": {}}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepguard.server.hook_bodies._SHOWN", 8)
    monkeypatch.setattr("stepguard.server.hook_bodies._PIECE", 5)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("key", ["tool_response", "error"])
def test_only_the_result_is_cut_whatever_stands_around(key: str) -> None:
    @settings(max_examples=300, deadline=None)
    @given(SIGNS, SIGNS, st.lists(SIGNS, max_size=4), st.booleans())
    def holds(before: str, after: str, value: list[str], escaped: bool) -> None:
        event = {"a": before, "n": {key: ["x" * 99]}, key: value, "z": [after, {"}": 1}]}
        found = json.loads(cut(json.dumps(event, ensure_ascii=escaped).encode()))
        rest = {name: found[name] for name in event if name != key}
        assert rest == {name: event[name] for name in event if name != key}
        if found[key] != value:
            begin, middle, end = found[key]
            assert middle == {"type": "cut"}
            raw = json.dumps(value, ensure_ascii=escaped)
            shown = begin["text"].removeprefix("error: ").strip().rstrip("\ufffd")
            assert raw.startswith(shown)
            assert raw.endswith(end["text"].lstrip("\ufffd"))

    holds()


@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    assert isinstance(cut(body), bytes)
    assert cut(b'"' + body) == b'"' + body


def test_what_can_be_read_stays_and_what_has_no_result_is_refused() -> None:
    limits = Settings()
    body = json.dumps({**HEAD, "tool_response": "x" * 900_000}).encode()
    assert shortened(body, limits) == body
    call = {**HEAD, "hook_event_name": "PreToolUse", "tool_input": {"text": "x" * 2 * MIB}}
    with pytest.raises(Fault, match="TooLarge"):
        shortened(json.dumps(call).encode(), limits)


BIG: dict[str, Any] = {
    "text": "begin " + "x" * 2 * MIB + " end",
    "picture": {"type": "image", "file": {"base64": "begin " + "A" * 2 * MIB + " end"}},
    "values": ["begin", *range(30_000), "end"],
}


@pytest.mark.parametrize("name", BIG)
def test_the_calls_after_it_are_judged_with_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepguard.taxonomy.LabelRows.margin", lambda *_: -2.0)
    engine = FakeEngine()
    event = {**HEAD, "tool_response": BIG[name]}
    call = {**HEAD, "hook_event_name": "PreToolUse", "tool_name": "Bash"}
    with make_guard(engine) as guard, on_thread(guard, tmp_path) as (client, _):
        assert client.post("/v1/hooks/claude-code", event).status == 200
        answer = client.post("/v1/hooks/claude-code", call)
    assert "begin" in asked_texts(engine)[-1]
    assert answer.json["hookSpecificOutput"]["permissionDecision"] == "ask"


@pytest.mark.parametrize("unit", ["x", "\\", '[{",'])
def test_the_largest_does_not_hold_the_loop(
    unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tests.front.fakes.hash_logits", lambda _, rows: np.zeros(len(rows), np.float32)
    )
    start = json.dumps({**HEAD, "tool_response": ""})[:-2]
    inner = json.dumps(unit, ensure_ascii=False)[1:-1]
    count = (15 * MIB - len(start)) // len(inner.encode())
    body = (start + inner * count + '"}').encode()
    with (
        make_guard(FakeEngine(context=1 << 12)) as guard,
        Holds() as holds,
        on_thread(guard, tmp_path, Settings(deadline_ms=400)) as (client, server),
    ):
        assert server._loop is not None
        asyncio.run_coroutine_threadsafe(holds.watch(), server._loop)
        answer = client.post("/v1/hooks/codex", body, Stepguard_Deadline_Ms="400")
    assert answer.status == 200
    assert holds.longest < (MOST_S, "")
