"""stepguard doctor, where no host is needed for it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from stepguard.cli import main
from stepguard.cli.doctor import HOSTS, Host
from stepguard.errors import StepguardError
from stepguard.gate import Gate
from stepguard.integrations.trials import Check, Trial, checks


def in_process(runs: bool, told: str = "blocked") -> Host:
    """A host that runs a call although it was blocked, or does not."""

    def play(gate: Gate) -> Trial:
        (decision,) = gate.check("key", [], [{"name": "remove", "arguments": {}}])
        return Trial(runs or decision.allowed, told)

    return Host(("pytest", "no-such-package"), lambda: checks("run", play))


@pytest.mark.parametrize(
    ("host", "status", "good"),
    [
        (in_process(False), 0, [True, True, True]),
        (in_process(True), 1, [True, False, True]),
        (in_process(False, told="something else"), 1, [True, True, False]),
    ],
)
def test_a_block_that_does_not_block_is_found(
    host: Host,
    status: int,
    good: list[bool],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(HOSTS, "langchain", host)
    assert main(["doctor", "langchain", "--json"]) == status
    found = json.loads(capsys.readouterr().out)
    assert [check["good"] for check in found["checks"]] == good
    assert found["exit_status"] == status
    assert found["versions"]["pytest"]
    assert found["versions"]["no-such-package"] is None
    assert main(["doctor", "langchain"]) == status
    out = capsys.readouterr().out
    assert "no-such-package is not installed" in out
    assert ("FAILED" in out) is (status == 1)


def missing() -> Iterator[Check]:
    raise StepguardError("the host", got="No module named 'x'")


def crashing(gate: Gate) -> Trial:
    raise RuntimeError("planted\x1b[2J")


@pytest.mark.parametrize(
    ("host", "found"),
    [
        (Host(("pytest",), missing), "No module named"),
        (Host(("pytest",), lambda: checks("run", crashing)), "RuntimeError: planted\\x1b"),
        (Host(("pytest",), lambda: iter(())), ""),
    ],
)
def test_what_cannot_be_looked_at_is_not_well(
    host: Host, found: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(HOSTS, "langchain", host)
    assert main(["doctor", "langchain"]) == 1
    out = capsys.readouterr().out
    assert found in out
    assert "\x1b" not in out


def test_a_host_that_nobody_knows(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", "nothing"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in HOSTS)
