"""What must not go into an adapter that is given away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stepguard.train import read_records
from stepguard.train.licence import AGENT_HARM, LLAMA, UNNAMED, counted, may_ship, reason_against
from tests.conftest import shared_path
from tests.train.made import made_record


@pytest.mark.parametrize(
    ("source", "meta", "reason"),
    [
        ("agentdyn", {"pipeline": "meta-llama_llama-3.3-70b-instruct-tool_filter"}, LLAMA),
        ("agentdyn", {"pipeline": "meta_secalign-8B"}, LLAMA),
        ("toolemu", {"agent_model": "meta-llama_Llama-3.1-8B-Instruct"}, LLAMA),
        ("tracesafe", {"agent_model": "toolace-8b"}, LLAMA),
        ("mine", {"model": "LLAMA-2"}, LLAMA),
        ("asse_security", {"origin": "agentharm", "family": "agentharm/1"}, AGENT_HARM),
        ("mine", {"family": "AgentHarm/7"}, AGENT_HARM),
        ("agentharm", {}, AGENT_HARM),
        ("agentdyn", {"pipeline": "gpt-4o-2024-08-06"}, None),
        ("asse_security", {"origin": "asb", "family": "asse/asb/lawyer"}, None),
        ("toolemu", {"agent_model": "Qwen_Qwen3-8B"}, None),
        ("mine", {"agent_model": None}, None),
        ("mine", {}, None),
    ],
)
def test_reasons(source: str, meta: dict[str, Any], reason: str | None) -> None:
    assert reason_against(made_record(source=source, meta=meta)) == reason


def test_everything_is_kept_or_counted() -> None:
    records = [
        made_record(source="a", meta={"agent_model": "llama-3"}),
        made_record(source="a", meta={"agent_model": "qwen"}),
        made_record(source="b", meta={}),
        made_record(source="generated", meta={}),
    ]
    kept, left = may_ship(records)
    assert kept == records[1:]
    assert counted(left) == {("a", LLAMA): 1}
    kept, left = may_ship(records, named_only=True)
    assert kept == [records[1], records[3]]
    assert counted(left) == {("a", LLAMA): 1, ("b", UNNAMED): 1}


@pytest.mark.parametrize(
    "names",
    [
        ["asse_security", "tracesafe"],
        pytest.param(["agentdyn", "toolemu"], marks=pytest.mark.slow),
    ],
)
def test_the_filter_on_real_data(names: list[str]) -> None:
    records = read_records([shared_path("data", f"{name}.jsonl.gz") for name in names])
    rules: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "agentdyn": (LLAMA, lambda m: "llama" in m["pipeline"] or "secalign" in m["pipeline"]),
        "asse_security": (AGENT_HARM, lambda m: m["origin"] == "agentharm"),
        "toolemu": (LLAMA, lambda m: m["agent_model"].startswith("meta-llama")),
        "tracesafe": (LLAMA, lambda m: m["agent_model"] == "toolace-8b"),
    }
    kept, left = may_ship(records)
    expected = {
        (name, rules[name][0]): sum(r.source == name and rules[name][1](r.meta) for r in records)
        for name in names
    }
    assert counted(left) == expected
    assert all(count > 0 for count in expected.values())
    assert len(kept) + len(left) == len(records)
