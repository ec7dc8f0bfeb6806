"""`stepguard bench neighbours`: who is beside whom, in turns; and a dead process is an error."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepguard.bench.neighbour_probe import Probe
from stepguard.bench.neighbours import Case, Spinner, measure_forward
from stepguard.cli import main
from stepguard.errors import StepguardError
from stepguard.runtime import Engine

TEXT = np.arange(64, dtype=np.int32)
ROWS = np.array([1, 2], np.int32)


@pytest.fixture(scope="module")
def engine(tiny_guards: dict[str, Path]) -> Iterator[Engine]:
    engine = Engine(tiny_guards["int8"], threads=1, memory=16 << 20)
    yield engine
    engine.close()


def test_numbers_of_a_case() -> None:
    case = Case("x", 2.5, [1.0, 2.0, 9.0], [5.0, 4.0, 3.0])
    assert case.ratio == 2.0
    assert case.to_dict() == {
        "name": "x",
        "limit": 2.5,
        "alone_ms": [1.0, 2.0, 9.0],
        "beside_ms": [5.0, 4.0, 3.0],
        "alone_ms_median": 2.0,
        "beside_ms_median": 4.0,
        "ratio": 2.0,
    }


def test_the_command(
    tiny_guards: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "neighbours.json"
    words = ["--repeats", "2", "--context", "64", "--step", "16", "--idle", "0.5"]
    words += ["--loops", "numpy", "--products", "2"]
    command = ["bench", "neighbours", str(tiny_guards["int8"]), *words]
    assert main([*command, "--threads", "1", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    report: dict[str, Any] = json.loads(file.read_text())
    assert set(report) == {"benchmark", "machine", "model", "settings", "idle", "cases"}
    sizes = {"context": 64, "step": 16, "repeats": 2, "products": 2, "idle": 0.5}
    assert report["settings"] == sizes | {"loops": ["numpy"]}
    assert [case["name"] for case in report["cases"]] == [
        "a numpy loop beside an idle guard",
        "a step of 16 tokens beside one busy process",
    ]
    for case in report["cases"]:
        assert len(case["alone_ms"]) == len(case["beside_ms"]) == 2
        assert min(case["alone_ms"] + case["beside_ms"]) > 0
    # A process that sleeps beside a guard that sleeps.
    assert report["idle"]["cpu_seconds"] < 0.05
    for text in ("times longer", "at most", "ms of CPU time in"):
        assert text in printed


def test_more_than_the_context(tiny_guards: dict[str, Path]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["bench", "neighbours", str(tiny_guards["int8"]), "--context", "100000"])
    assert stop.value.code == 2


def test_the_spinner_takes_a_core_only_when_told() -> None:
    with Spinner() as spinner:
        before = cpu_ticks(spinner.pid)
        spinner.spin(True)
        until = time.monotonic() + 30
        while cpu_ticks(spinner.pid) < before + 3 and time.monotonic() < until:
            time.sleep(0.01)
        spinner.spin(False)
        stopped = cpu_ticks(spinner.pid)
        assert stopped >= before + 3
        time.sleep(0.2)
        assert cpu_ticks(spinner.pid) == stopped


def test_alone_and_beside_take_turns(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[bool] = []
    spin = Spinner.spin
    monkeypatch.setattr(Spinner, "spin", lambda self, on: (turns.append(on), spin(self, on))[1])
    before = engine.stats()["tokens"]
    case = measure_forward(engine, TEXT, TEXT[:4], ROWS, step=8, repeats=2)
    assert turns == [False, True, False, False, True, True, False, False, True]
    assert len(case.alone_ms) == len(case.beside_ms) == 2
    assert engine.stats()["tokens"] - before == 56 + 8 * (8 + 4)  # the context is read once


def test_an_engine_without_an_answer(engine: Engine) -> None:
    with pytest.raises(StepguardError, match="expected an answer, got overflow"):
        measure_forward(engine, np.ones(4000, np.int32), TEXT[:4], ROWS, step=8, repeats=1)


def test_a_process_that_ended(tmp_path: Path) -> None:
    with pytest.raises(StepguardError, match="its end with status 1"):
        Probe(tmp_path)
    with Probe() as probe:
        assert probe.ask("numpy", 1) > 0
        with pytest.raises(StepguardError, match="its end with status"):
            probe.ask("nonsense", 0)
        with pytest.raises(StepguardError, match="its end with status"):
            probe.ask("numpy", 0)


def cpu_ticks(process: int) -> int:
    """CPU time of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])
