"""stepguard info."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from stepguard.cli import info
from stepguard.errors import RuntimeMissingError
from stepguard.runtime import isa_tables
from tests.cli.ran import Ran

Run = Callable[..., Ran]


def test_people_see_the_machine(run: Run) -> None:
    ran = run("info")
    assert (ran.status, ran.err) == (0, "")
    for table in isa_tables():
        assert re.search(rf"isa\s+{table.name}: ", ran.out)
    assert ran.out.count(", active") == 1
    assert "libonnxruntime.so" in ran.out


def test_json_has_the_documented_keys(run: Run) -> None:
    value = json.loads(run("info", "--json").out)
    page = run("info", "--help").out.partition("keys of --json")[2]
    documented = set(re.findall(r"\w+", page))
    assert {*value, *value["isa"], *value["onnxruntime"]} <= documented
    assert value["isa"]["active"] in {table["name"] for table in value["isa"]["tables"]}
    assert re.match(r"\d+\.\d+", value["onnxruntime"]["version"])
    assert value["packages"]["numpy"]


def test_the_forced_table(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPGUARD_ISA", "generic")
    assert json.loads(run("info", "--json").out)["isa"]["active"] == "generic"
    monkeypatch.setenv("STEPGUARD_ISA", "mmx")
    ran = run("info")
    assert ran.status == 1
    assert "warning: the environment variable STEPGUARD_ISA" in ran.out


def test_without_a_library(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise RuntimeMissingError("ONNX Runtime", got="none", fix="Type: pip install this")

    monkeypatch.setattr(info, "find_onnxruntime", missing)
    ran = run("info")
    assert ran.status == 1
    assert "not found" in ran.out
    assert "Type: pip install this" in ran.out


def test_a_library_that_others_opened(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "loaded_by_others", lambda _: True)
    ran = run("info")
    assert ran.status == 0
    assert "ORT_DISABLE_TELEMETRY" in ran.out
    monkeypatch.setattr(info, "loaded_by_others", lambda _: False)
    assert "ORT_DISABLE_TELEMETRY" not in run("info").out


def test_the_name_of_the_cpu(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Some CPU: fast\n")
    assert info.cpu_name(tmp_path / "cpuinfo") == "Some CPU: fast"
    assert info.cpu_name(tmp_path / "absent")
