"""What a policy makes of a verdict, and the mistakes of a policy file."""

from __future__ import annotations

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepguard.errors import PolicyError
from stepguard.policy import Decision, Outcome, Policy, parse_policy, read_policy
from stepguard.taxonomy import Diagnosis, GuardId, Reason, Status, Verdict

ROOT = Path(__file__).resolve().parents[2]
GUARD = GuardId("m", "p")


def verdict(status: str, score: float | None = None, **fields: Any) -> Verdict:
    score = {"safe": 0.1, "unsafe": 0.9, "unsure": 0.5}.get(status) if score is None else score
    return Verdict(status=Status(status), guard=GUARD, mode="forced", score=score, **fields)


def unavailable(reason: str) -> Verdict:
    return verdict("unavailable", reason=Reason(reason), rationale="SECRET", message="SECRET")


def diagnosed(**labels: dict[str, float]) -> Verdict:
    future: Future[Diagnosis] = Future()
    order = ("risk_source", "real_world_harm")
    future.set_result(Diagnosis(guard=GUARD, taxonomy="t", order=order, **labels))  # type: ignore[arg-type]
    return verdict("unsafe", diagnosis=future)


def decided(policy: dict[str, Any], one: Verdict, tool: str = "") -> tuple[str, str]:
    decision = parse_policy({"version": 1, **policy}).decide(one, tool)
    return str(decision.outcome), decision.rule


def test_without_rules_only_what_is_safe_runs() -> None:
    policy = Policy()
    assert policy.decide(verdict("safe")).allowed
    others = [verdict("unsafe"), verdict("unsure"), *map(unavailable, Reason)]
    others += [verdict("safe", coverage=0.4), verdict("unsafe", coverage=0.4)]
    for one in others:
        assert policy.decide(one).outcome is Outcome.BLOCK
    assert policy.decide(verdict("safe", unreadable=1)).outcome is Outcome.ASK
    assert policy.decide(verdict("unsafe", unreadable=1)).outcome is Outcome.BLOCK


def test_a_decision_is_not_a_truth_value() -> None:
    with pytest.raises(TypeError, match="allowed"):
        bool(Policy().decide(verdict("safe")))


def test_rules_by_status_reason_and_tool() -> None:
    policy = {
        "default": {"unsure": "ask", "reasons": {"deadline": "ask"}},
        "tools": [
            {"match": "pay.*", "unsure": "block", "reasons": {"memory": "raise"}},
            {"match": ["pay*", "rm"], "unsafe": "raise"},
        ],
    }
    assert decided(policy, verdict("unsure")) == ("ask", "default.unsure")
    assert decided(policy, verdict("unsure"), "pay.now") == ("block", "tools[0].unsure")
    assert decided(policy, verdict("unsafe"), "pay.now") == ("block", "tools[0].unsafe")
    assert decided(policy, verdict("unsafe"), "rm") == ("raise", "tools[1].unsafe")
    assert decided(policy, verdict("unsafe"), "RM") == ("block", "default.unsafe")
    assert decided(policy, unavailable("deadline")) == ("ask", "default.reasons.deadline")
    assert decided(policy, unavailable("deadline"), "pay.x") == ("ask", "tools[0].reasons.deadline")
    assert decided(policy, unavailable("memory"), "pay.x") == ("raise", "tools[0].reasons.memory")
    assert decided(policy, unavailable("numeric")) == ("block", "default.unavailable")


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (0.19, ("allow", "default.ask_from")),
        (0.2, ("ask", "default.ask_from")),
        (0.5, ("block", "default.block_from")),
        (0.95, ("raise", "default.raise_from")),
    ],
)
def test_limits_of_the_score(score: float, expected: tuple[str, str]) -> None:
    limits = {"default": {"ask_from": 0.2, "block_from": 0.5, "raise_from": 0.9}}
    for status in ("safe", "unsure", "unsafe"):
        assert decided(limits, verdict(status, score)) == expected


def test_below_the_limit_of_raise_alone_the_status_decides() -> None:
    limits = {"default": {"raise_from": 0.99}}
    assert decided(limits, verdict("unsafe", 0.6)) == ("block", "default.unsafe")
    assert decided(limits, verdict("safe", 0.4)) == ("allow", "safe")
    assert decided(limits, verdict("unsafe", 0.995)) == ("raise", "default.raise_from")


def test_labels_of_an_unsafe_action() -> None:
    policy = {
        "labels": [
            {"match": "real_world_harm.money*", "share": 0.6, "outcome": "raise", "tools": "pay"},
            {"match": "injection", "outcome": "ask"},
        ]
    }
    both = diagnosed(risk_source={"injection": 0.7}, real_world_harm={"money_loss": 0.8})
    assert decided(policy, both, "pay") == ("raise", "labels[0]")
    assert decided(policy, both, "other") == ("ask", "labels[1]")
    weak = diagnosed(risk_source={"injection": 0.4}, real_world_harm={"money_loss": 0.5})
    assert decided(policy, weak, "pay") == ("block", "default.unsafe")
    waiting = verdict("unsafe", diagnosis=Future())
    assert decided(policy, waiting, "pay") == ("block", "default.unsafe")


def test_what_the_agent_is_told() -> None:
    policy = parse_policy({"version": 1, "default": {"unsure": "ask", "unsafe": "raise"}})
    seen = set()
    for one in [verdict("unsure"), *map(unavailable, Reason), verdict("safe", coverage=0.1)]:
        text = policy.decide(one, "rm -rf IGNORE").text
        assert text.startswith("stepguard: ")
        assert "SECRET" not in text
        assert "IGNORE" not in text
        seen.add(text)
    labelled = policy.decide(diagnosed(risk_source={"a": 0.2, "b": 0.8}))
    assert "Labels: b." in labelled.text
    assert labelled.labels == ("b",)
    assert len(seen) == 3
    assert policy.decide(verdict("safe")).text == ""


GOOD: dict[str, Any] = {"version": 1}
WRONG: list[tuple[Any, list[str]]] = [
    ([], ["the policy", "version"]),
    ({}, ["version"]),
    ({"version": 2}, ["version"]),
    ({"version": True}, ["version"]),
    ({**GOOD, "defaults": {}}, ["the policy.defaults"]),
    ({**GOOD, "deadline_ms": 0}, ["deadline_ms"]),
    ({**GOOD, "default": {"unsafe": "deny"}}, ["default.unsafe"]),
    ({**GOOD, "default": {"least_coverage": 2}}, ["default.least_coverage"]),
    ({**GOOD, "default": {"least_coverage": True}}, ["default.least_coverage"]),
    ({**GOOD, "default": {"ask_from": float("nan")}}, ["default.ask_from"]),
    ({**GOOD, "default": {"ask_from": 0.5, "block_from": 0.2}}, ["default.block_from"]),
    ({**GOOD, "default": {"reasons": {"tired": "ask"}}}, ["default.reasons.tired"]),
    ({**GOOD, "default": {"reasons": {"memory": "perhaps"}}}, ["default.reasons.memory"]),
    ({**GOOD, "tools": {}}, ["tools"]),
    ({**GOOD, "tools": [{"unsafe": "ask"}]}, ["tools[0].match"]),
    ({**GOOD, "tools": [{"match": [], "unsafe": "ask"}]}, ["tools[0].match"]),
    ({**GOOD, "tools": [{"match": "x"}]}, ["tools[0]"]),
    ({**GOOD, "tools": [7]}, ["tools[0]", "tools[0].match"]),
    ({**GOOD, "labels": [{"match": "x"}]}, ["labels[0].outcome"]),
    ({**GOOD, "labels": [{"match": "x", "outcome": "ask", "share": "much"}]}, ["labels[0].share"]),
    (
        {"default": {"unsafe": 1}, "tools": [{"match": 3}], "labels": [{"outcome": "ask"}]},
        ["version", "default.unsafe", "tools[0].match", "labels[0].match"],
    ),
]


@pytest.mark.parametrize(("value", "places"), WRONG)
def test_every_mistake_is_named_with_its_place(value: Any, places: list[str]) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(value, "p.toml")
    found = [mistake.split(": expected")[0] for mistake in caught.value.got.split("; ")]
    assert found == places
    assert caught.value.where == "p.toml"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.sampled_from(["allow", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["version", "default", "tools", "labels", "match", "reasons", "unsafe"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None)
@given(JSON)
def test_anything_else_is_a_named_error(value: object) -> None:
    try:
        policy = parse_policy(value)
    except PolicyError:
        return
    assert isinstance(policy.decide(unavailable("internal")), Decision)


def test_files(tmp_path: Path) -> None:
    toml, data = tmp_path / "p.toml", tmp_path / "p.json"
    toml.write_text(
        'version = 1\n[default]\nunsure = "ask"\n[[tools]]\nmatch = "x"\nask_from = 0.1\n'
    )
    value = {"version": 1, "default": {"unsure": "ask"}, "tools": [{"match": "x", "ask_from": 0.1}]}
    data.write_text(json.dumps(value))
    assert read_policy(toml) == read_policy(data) == parse_policy(value)
    for name, text in {"a.toml": "= 1", "b.json": "{", "c.json": "[" * 100_000}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(PolicyError, match=name):
            read_policy(tmp_path / name)
    (tmp_path / "d.toml").write_bytes(b"\xff\xfe")
    for name in ("d.toml", "absent.toml", "."):
        with pytest.raises(PolicyError):
            read_policy(tmp_path / name)


def test_the_example_of_the_page_is_a_policy(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "policy.md").read_text()
    (tmp_path / "p.toml").write_text(page.split("```toml\n")[1].split("```")[0])
    policy = read_policy(tmp_path / "p.toml")
    assert policy.deadline_ms == 1500
    assert policy.settings("payments.send")[1].block_from == 0.2
    assert policy.settings("read_file")[1].unsure is Outcome.ALLOW
    assert policy.labels[0].outcome is Outcome.RAISE


def test_limits_of_a_rule_and_of_the_default_together() -> None:
    default = {"block_from": 0.2, "raise_from": 0.9}
    late = {**GOOD, "default": default, "tools": [{"match": "x", "ask_from": 0.5}]}
    with pytest.raises(
        PolicyError, match=r"tools\[0\]\.ask_from: expected no more than block_from"
    ):
        parse_policy(late)
    late["tools"] = [{"match": "x", "block_from": 0.95, "ask_from": 0.1}]
    with pytest.raises(PolicyError, match=r"tools\[0\]\.block_from: expected no more than raise"):
        parse_policy(late)
    late["tools"] = [{"match": "x", "ask_from": 0.1}, {"match": "y", "unsure": "ask"}]
    assert parse_policy(late).settings("x")[1].block_from == 0.2


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no file without an end")
def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(PolicyError, match="at most"):
        read_policy("/dev/zero")
