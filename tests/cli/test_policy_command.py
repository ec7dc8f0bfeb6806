"""stepguard policy: mistakes are named, and a trajectory shows what a policy does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stepguard import Step
from stepguard.audit import hash_step, verify
from tests.cli.ran import Ran

POLICY = """\
version = 1
[default]
unsure = "ask"
[[tools]]
match = "rm"
unsafe = "raise"
"""
TRAJECTORY = {
    "profile": "p",
    "contents": [
        {"role": "user", "content": "x"},
        {"role": "agent", "thought": "", "action": '{"name": "ls", "arguments": {}}'},
        {"role": "environment", "content": "a"},
        {
            "role": "agent",
            "thought": "",
            "action": '{"name": "rm", "arguments": {"p": "\\u001b[31m"}}',
        },
    ],
}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    policy, trajectory = tmp_path / "policy.toml", tmp_path / "trajectory.json"
    policy.write_text(POLICY)
    trajectory.write_text(json.dumps(TRAJECTORY))
    return policy, trajectory


def test_check(run: Callable[..., Ran], files: tuple[Path, Path], tmp_path: Path) -> None:
    ran = run("policy", "check", files[0])
    assert ran.status == 0
    assert "1 rules for tools" in ran.out
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('version = 1\n[default]\nunsafe = "deny"\n')
    ran = run("policy", "check", wrong)
    assert ran.status == 1
    assert "default.unsafe" in ran.err
    loose = tmp_path / "loose.toml"
    loose.write_text('version = 1\n[[tools]]\nmatch = "x"\nunsafe = "allow"\n')
    assert "tools[0].unsafe lets actions run" in run("policy", "check", loose).out
    loose.write_text("version = 1\n[default]\nblock_from = 0.99\nunreadable = 'allow'\n")
    said = " ".join(run("policy", "check", loose).out.split())
    assert "default.block_from lets actions run that were not judged safe, below 0.99" in said
    assert "default.unreadable lets actions run" in said
    loose.write_text("version = 1\n[default]\nraise_from = 0.99\n")
    assert "lets actions run" not in run("policy", "check", loose).out


@pytest.mark.parametrize(
    ("statuses", "status", "outcomes"),
    [
        (["safe", "safe"], 0, ["allow", "allow"]),
        (["unsafe", "unsafe"], 10, ["block", "raise"]),
        (["safe", "numeric"], 10, ["allow", "block"]),
    ],
)
def test_a_trajectory(
    run: Callable[..., Ran],
    answering: Callable[..., None],
    files: tuple[Path, Path],
    statuses: list[str],
    status: int,
    outcomes: list[str],
) -> None:
    answering(*statuses)
    words = ("policy", "test", files[0], files[1], "--model", "OUT")
    ran = run(*words)
    assert ran.status == status
    assert [word for word in ran.out.split() if word in outcomes] == outcomes
    assert "\x1b[31m" not in ran.out
    answering(*statuses)
    found = json.loads(run(*words, "--json").out)
    decisions = found["trajectories"][0]["decisions"]
    assert [one["outcome"] for one in decisions] == outcomes
    assert [(one["step"], one["tool"]) for one in decisions] == [(1, "ls"), (3, "rm")]
    assert found["exit_status"] == status


def test_a_message_list(
    run: Callable[..., Ran], answering: Callable[..., None], files: tuple[Path, Path]
) -> None:
    call = {"id": "c", "function": {"name": "rm", "arguments": "{}"}}
    files[1].write_text(json.dumps([{"role": "assistant", "tool_calls": [call]}]))
    answering("unsafe")
    ran = run("policy", "test", files[0], files[1], "--model", "OUT")
    assert ran.status == 10
    assert "tools[0].unsafe" in ran.out
    files[1].write_text(json.dumps([{"odd": 1}]))
    ran = run("policy", "test", files[0], files[1], "--model", "OUT")
    assert ran.status == 1
    assert "trajectory.json: messages[0]" in ran.err


def test_the_log_of_a_test(
    run: Callable[..., Ran],
    answering: Callable[..., None],
    files: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    answering("unsafe", "unsafe")
    log = tmp_path / "log.jsonl"
    ran = run("policy", "test", files[0], files[1], "--model", "OUT", "--audit", log)
    assert ran.status == 10
    assert verify([log]).whole
    found = [json.loads(line) for line in log.read_text(encoding="ascii").splitlines()]
    found = [line for line in found if line["kind"] == "decision"]
    assert [line["policy"]["outcome"] for line in found] == ["block", "raise"]
    assert [line["about"]["tool"] for line in found] == ["ls", "rm"]
    steps = [Step.from_dict(one, "step") for one in (TRAJECTORY["contents"][n] for n in (1, 3))]
    assert [line["text"] for line in found] == [hash_step(step) for step in steps]
    log.write_text("no line of ours")
    again = run("policy", "test", files[0], files[1], "--model", "OUT", "--audit", log)
    assert (again.status, len(again.out)) == (10, len(ran.out)), "it goes on, and says so"
    assert verify([log]).torn
