"""The example of a host, and `stepguard doctor` on it, in its environment."""

from __future__ import annotations

import json
import runpy
import sys
from typing import Any, ClassVar

import pytest

from stepguard import Guard
from stepguard.cli import main
from tests.conftest import ROOT
from tests.hosts.planted import planted_guard


def run_example(name: str, unsafe: bool, patch: pytest.MonkeyPatch) -> None:
    """The program as it stands, with a planted guard in place of a model directory."""
    path = ROOT / "examples" / name
    assert len(path.read_text(encoding="utf-8").splitlines()) < 40
    guard, engine = planted_guard()
    engine.unsafe = lambda actions: unsafe

    def load(folder: str) -> Guard:
        assert folder == "OUT"
        return guard

    patch.setattr(Guard, "load", load)
    patch.setattr(sys, "argv", [str(path), "OUT"])
    runpy.run_path(str(path), run_name="__main__")


def doctor(host: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What it says, its exit status checked."""
    status = main(["doctor", host, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["exit_status"] == status
    assert status == (0 if all(check["good"] for check in found["checks"]) else 1)
    return found


class HostAsShipped:
    """What is told to try first must work; a class below names the host."""

    host: ClassVar[str]
    example: ClassVar[str]

    def unwire(self, patch: pytest.MonkeyPatch) -> None:
        """Makes the adapter let everything run."""
        raise NotImplementedError

    @pytest.mark.parametrize("unsafe", [True, False])
    def test_the_example(
        self, unsafe: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run_example(self.example, unsafe, monkeypatch)
        out = capsys.readouterr().out
        assert ("was blocked" in out) is unsafe
        assert ("/home is gone" in out) is not unsafe

    def test_the_doctor_finds_it_well(self, capsys: pytest.CaptureFixture[str]) -> None:
        found = doctor(self.host, capsys)
        assert found["exit_status"] == 0
        assert all(found["versions"].values())
        assert len(found["checks"]) >= 3

    def test_the_doctor_finds_a_block_that_does_not_block(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.unwire(monkeypatch)
        found = doctor(self.host, capsys)
        bad = {check["found"] for check in found["checks"] if not check["good"]}
        assert bad & {
            "the gate was asked, the tool ran",
            "the gate was never asked, the tool ran",
        }
