"""`--activations` of commands that measure our engine: what runs, what is told, the floor of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stepguard.bench.floor import Step, floor_ms
from stepguard.bench.latency import engines
from stepguard.bench.latency.devices import our_setup
from stepguard.bench.latency.ours import LABELS
from stepguard.bench.peaks import Peaks
from stepguard.bench.shapes import GUARDS
from stepguard.bench.work import Op, Work, operations_of
from stepguard.cli import main
from stepguard.errors import StepguardError
from stepguard.runtime import active_isa, isa_tables

pytestmark = pytest.mark.usefixtures("tiny")

TABLES = [table.name for table in isa_tables()]
AMX = {"amx/int8": 800e9, "amx/bf16": 300e9, "avx512/fp32": 90e9, "avx512/int16": 150e9}
SHAPE = ["--shape", "tiny", "--threads", "1"]
COMPANY = ["--context", "40", "--new", "4", "--question", "3"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What each of our engines is told."""
    told: list[str | None] = []
    real = engines.Remote

    def watched(*words: Any, options: dict[str, Any], **named: Any) -> Any:
        told.append(options["activations"])
        return real(*words, options=options, **named)

    monkeypatch.setattr(engines, "Remote", watched)
    return told


def told(tmp_path: Path, *words: str) -> dict[str, Any]:
    file = tmp_path / "j.json"
    assert main(["bench", *words, "--json", str(file)]) == 0
    report: dict[str, Any] = json.loads(file.read_text())
    return report


def latency(tmp_path: Path, *more: str) -> dict[str, Any]:
    words = [*SHAPE, *COMPANY, "--prefill", "0", "--repeats", "1", "--peers", "none"]
    return told(tmp_path, "latency", *words, "--work", str(tmp_path / "w"), *more)


def floor_of(report: dict[str, Any], activations: str) -> dict[str, float] | None:
    """That of a step of 4, by the peaks of the report."""
    peaks = {name: 1e9 * value for name, value in report["peaks"]["gop_s"].items()}
    measured = Peaks(1, 1e9 * report["peaks"]["memory_gb_s"], peaks)
    ops = operations_of(GUARDS["tiny"].shape, activations=activations)
    return floor_ms(ops, Step(40, 4, 3, LABELS), measured, report["machine"]["isa"])


@pytest.mark.parametrize("activations", ["fp32", "int8"])
def test_a_step_verdict(
    activations: str,
    started: list[str | None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = latency(tmp_path, "--activations", activations)
    assert started == [activations]
    assert report["machine"]["activations"] == activations
    assert report["settings"]["activations"] == activations
    assert f"activations in {activations}" in capsys.readouterr().out
    floor = floor_of(report, activations)
    parts = report["cases"][0]["floor_parts_ms"]
    assert parts == (None if floor is None else pytest.approx(floor))


def test_what_ours_takes_by_itself(started: list[str | None], tmp_path: Path) -> None:
    report = latency(tmp_path)
    by_itself = "bf16" if active_isa() == "amx" else "int8"
    assert started == [None]
    assert report["machine"]["activations"] == report["settings"]["activations"] == by_itself


def test_many_sessions(
    tiny_guards: dict[str, Path], started: list[str | None], tmp_path: Path
) -> None:
    def company(quant: str, *more: str) -> dict[str, Any]:
        words = [*COMPANY, "--sessions", "1", "--rounds", "1", "--beside", "0", "--threads", "1"]
        return told(tmp_path, "throughput", str(tiny_guards[quant]), *words, *more)

    for quant, more, wanted in (
        ("int8", ("--activations", "fp32"), "fp32"),
        ("int8", (), "int8"),
        ("float32", (), "fp32"),  # nothing is rounded there
    ):
        report = company(quant, "--peers", "none", *more)
        assert report["machine"]["activations"] == report["settings"]["activations"] == wanted
    assert started == ["fp32", None, None]


def test_sizes_of_other_activations_are_measured_again(
    started: list[str | None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sizes", "--shapes", "tiny", *COMPANY, "--prefill", "0", "--repeats", "1"]
    words += ["--threads", "1", "--work", str(tmp_path / "w")]
    for more in (["fp32"], ["fp32"], ["int8"]):
        report = told(tmp_path, *words, "--activations", *more)
        assert report["shapes"][0]["settings"]["activations"] == more[0]
        assert f"activations in {more[0]}" in capsys.readouterr().out
    assert started == ["fp32", "int8"]


def kernels(tmp_path: Path, *more: str) -> dict[str, Any]:
    words = ["kernels", *SHAPE, "--rows", "3", "--seconds", "0", "--ops", "mlp.down", "mlp.norm"]
    return told(tmp_path, *words, *more)


def test_kernels_of_several(tmp_path: Path) -> None:
    words = ("--isa", *TABLES, "--activations", "fp32", "int8", "fp32")
    report = kernels(tmp_path, *words)
    assert report["machine"]["activations"] == "fp32, int8"
    assert report["settings"]["activations"] == ["fp32", "int8"]
    ops = ("mlp.norm", "mlp.down x fp32", "mlp.down x int8")
    wanted = [f"{op}, 3 rows, {table}" for op in ops for table in TABLES]
    assert [case["name"] for case in report["cases"]] == wanted
    kinds = [case["arithmetic"] for case in report["cases"]]
    assert kinds == ["fp32"] * (2 * len(TABLES)) + ["int8"] * len(TABLES)


def test_kernels_of_what_each_table_takes(tmp_path: Path) -> None:
    names = [case["name"] for case in kernels(tmp_path, "--isa", *TABLES)["cases"]]
    for table in TABLES:
        kind = "bf16" if table == "amx" else "int8"
        assert f"mlp.down x {kind}, 3 rows, {table}" in names
    plain = kernels(tmp_path, "--isa", *TABLES, "--quant", "float32")
    assert plain["settings"]["activations"] == ["fp32"]
    assert [case["name"] for case in plain["cases"]][-1] == f"mlp.down, 3 rows, {TABLES[-1]}"


@pytest.mark.parametrize(
    ("quant", "activations", "peak"),
    [
        ("int4", "fp32", 300e9 / 3),
        ("int4", "bf16", 300e9),
        ("int4", "int8", 800e9),
        ("int8", "int8", 800e9 / 2),
        ("float32", "fp32", 90e9),
    ],
)
def test_products_in_tiles(quant: str, activations: str, peak: float) -> None:
    """A row of more bits is several products; without weights in integers there are no tiles."""
    sizes = operations_of(GUARDS["tiny"].shape, quant=quant, activations=activations)
    (down,) = [op for op in sizes if op.name == "mlp.down"]
    peaks = Peaks(1, 1e15, AMX)
    work = down.work(8, 8)
    assert peaks.least_seconds("amx", work) == pytest.approx(work.operations / peak)
    attention: Sequence[Op] = [op for op in sizes if op.op == "attention"]
    assert peaks.of_work("amx", attention[0].work(8, 8)) == 90e9


def test_no_tiles_without_their_peak() -> None:
    work = Work(1.0, 1.0, "fp32", tiled=True)
    assert Peaks(1, 1.0, {"avx512/fp32": 9.0, "amx/bf16": 30.0}).of_work("avx512", work) == 9.0
    assert Peaks(1, 1.0, {"avx512/fp32": 9.0}).of_work("amx", work) == 9.0


def test_what_cannot_be_set_up() -> None:
    assert our_setup(1, activations="fp32").activations == "fp32"
    assert our_setup(1, linear=["float32"]).activations == "fp32"
    with pytest.raises(StepguardError, match="'int8' needs int4 or int8 weights"):
        our_setup(1, activations="int8", linear=["float32"])
