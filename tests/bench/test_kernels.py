"""Peaks, the work of operations, the floor that follows, and `stepguard bench kernels`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepguard.bench import run_kernels
from stepguard.bench.floor import Step, floor_ms
from stepguard.bench.kernels import measure_kernels
from stepguard.bench.peaks import Peaks, measure_peaks
from stepguard.bench.shapes import GUARDS, GuardShape, find_shape, make_model
from stepguard.bench.work import Op, Work, operations_of
from stepguard.cli import main
from stepguard.errors import StepguardError
from stepguard.runtime import _core, isa_tables

TABLES = [table.name for table in isa_tables()]
PEAKS = Peaks(2, 10e9, {"avx2/fp32": 100e9, "avx2/int8": 400e9, "avx512/fp32": 150e9})


def test_peaks_of_this_machine() -> None:
    peaks = measure_peaks(1)
    assert peaks.memory > 0
    assert all(value > 0 for value in peaks.operations.values())
    for table in set(TABLES) & {"avx2", "avx512"}:
        assert {f"{table}/{kind}" for kind in ("fp32", "int8", "int16")} <= set(peaks.operations)
    assert "memory" in peaks.line()
    assert peaks.to_dict()["threads"] == 1


def test_a_table_falls_back_on_narrower_instructions() -> None:
    assert PEAKS.of("avx512", "fp32") == 150e9
    assert PEAKS.of("avx512", "int8") == 400e9
    assert PEAKS.of("avxvnni", "int8") == 400e9
    assert PEAKS.of("generic", "fp32") is None
    work = Work(1e9, 20e9, "fp32")
    assert PEAKS.least_seconds("avx2", work) == pytest.approx(0.2)
    assert PEAKS.bound("avx2", work) == "fp32"
    assert PEAKS.bound("avx2", Work(3e9, 20e9, "fp32")) == "memory"
    assert PEAKS.least_seconds("generic", work) is None
    assert PEAKS.bound("generic", work) == ""


@pytest.mark.parametrize("quant", ["int4", "int8", "float32"])
def test_work_as_the_core_counts_it(small: dict[str, GuardShape], quant: str) -> None:
    """Beside what must come from memory the core counts the rows that go in and out."""
    for op in operations_of(small["qwen3.5-4b"].shape, quant=quant):
        sizes = {**op.sizes, "rows": 5} | ({"context": 70} if op.has_context else {})
        kind, size, operations, runs = _core.measure_op(op.op, sizes, ["generic"], 1, 0.0, 1e-3)
        work = op.work(5, 70)
        assert (kind, operations) == (work.arithmetic, work.operations), op.name
        assert runs[0][1] == 0, op.name
        if op.op == "linear":
            width = op.sizes["n"] // (2 if op.sizes["epilogue"] == 2 else 1)
            assert size == work.bytes + 4 * 5 * (op.sizes["k"] + width)
        assert size >= work.bytes


def test_linears_are_those_of_a_model(small: dict[str, GuardShape], tmp_path: Path) -> None:
    """Their bytes are the file's, but for the tables, small tensors and gaps of alignment."""
    shape = small["qwen3.5-4b"]
    make_model(shape, tmp_path / "m", quant="int4")
    ops = operations_of(shape.shape)
    linears = sum(op.count * op.work(1, 1).bytes for op in ops if op.op == "linear")
    tables = shape.shape.vocabulary * (64 + 2 * 2)
    rest = (tmp_path / "m" / "weights.bin").stat().st_size - linears - tables
    assert 0 < rest < 0.2 * linears


def test_the_floor_by_hand() -> None:
    linear = {"n": 320, "k": 640, "format": 2, "activations": 1, "epilogue": 0}
    ops = [Op("some", "linear", linear, 3), Op("rule", "delta_rule", DELTA)]
    found = floor_ms(ops, Step(100, 6, 4, 7), PEAKS, "avx2")
    assert found is not None
    weights = 320 * 640 / 2 + 320 * 640 / 32 * 2
    assert found["Linear"] == pytest.approx(3 * 1e3 * max(weights / 10e9, 20 * 320 * 640 / 400e9))
    # Two States are written: one of the step, one of the question.
    state = 4 * 32 * 16
    assert found["DeltaNet"] == pytest.approx(1e3 * max(2 * 8 * state / 10e9, 70 * state / 100e9))
    assert floor_ms(ops, Step(100, 6, 4, 7), PEAKS, "generic") is None


DELTA = {"k_heads": 2, "v_heads": 4, "k_dim": 16, "v_dim": 32, "conv_width": 4}


def test_attention_grows_with_the_context() -> None:
    op = Op("attention", "attention", {"heads": 8, "kv_heads": 2, "head_dim": 64, "half": 1})
    near, far = op.work(10, 100), op.work(10, 1000)
    assert near.operations == 4 * 512 * (10 * 90 + 55)
    assert far.bytes == 1024 * 2 * 2 * 64 * 2
    assert far.operations > 9 * near.operations


@pytest.mark.parametrize(
    "op", operations_of(find_shape("qwen3.5-0.8b").shape), ids=lambda o: o.name
)
def test_tables_agree_with_the_reference(op: Op) -> None:
    """Rows and sizes that no vector divides."""
    sizes = {
        name: min(size, 33) if name in ("n", "k", "width") else size
        for name, size in op.sizes.items()
    }
    sizes |= {"rows": 3} | ({"context": 41} if op.has_context else {})
    _, _, _, runs = _core.measure_op(op.op, sizes, TABLES, 2, 0.0, 1e-3)
    assert [table for table, _, _ in runs] == TABLES
    for table, error, seconds in runs:
        assert error < 1e-4, table
        assert seconds > 0


def test_a_wrong_kernel_gets_no_time() -> None:
    """With nothing allowed every rounding is wrong: the fastest table is not the reference."""
    if TABLES == ["generic"]:
        pytest.skip("no table but the reference")
    op = Op("norm", "rms_norm", {"width": 100})
    assert _core.measure_op(op.op, {**op.sizes, "rows": 3}, TABLES[:1], 1, 0.0, 0.0)[3][0][2] == 0
    with pytest.raises(StepguardError, match=r"norm, 3 rows, .*computes something else"):
        measure_kernels([(op, TABLES[:1])], rows=[3], context=1, peaks=PEAKS, allowed=0.0)


@pytest.mark.parametrize(
    ("op", "sizes", "text"),
    [
        ("matmul", {}, "unknown name matmul"),
        ("rms_norm", {"rows": 1}, "width is missing"),
        ("rms_norm", {"rows": 0, "width": 3}, "rows: expected 1 to"),
        (
            "attention",
            {"rows": 1, "context": 9, "heads": 3, "kv_heads": 2, "head_dim": 8, "half": 1},
            "a multiple of kv_heads",
        ),
    ],
)
def test_sizes_that_cannot_be(op: str, sizes: dict[str, int], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        _core.measure_op(op, sizes, ["generic"], 1, 0.0, 1e-3)
    with pytest.raises(ValueError, match="unknown name"):
        _core.measure_op("rms_norm", {"rows": 1, "width": 3}, ["z80"], 1, 0.0, 1e-3)


def test_the_command(
    small: dict[str, GuardShape],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(GUARDS, "tiny", small["qwen3.5-4b"])
    words = ["bench", "kernels", "--shape", "tiny", "--rows", "1,3", "--context", "40"]
    words += ["--seconds", "0.001", "--threads", "1", "--json", str(tmp_path / "j.json")]
    more = [] if TABLES == ["generic"] else ["--plot", str(tmp_path / "k.svg")]
    assert main([*words, "--ops", "attention", "mlp.down", "--isa", *TABLES, *more]) == 0
    assert not more or "<svg" in (tmp_path / "k.svg").read_text()[:1000]
    report = json.loads((tmp_path / "j.json").read_text())
    assert len(report["cases"]) == 2 * 2 * len(TABLES)
    for case in report["cases"]:
        assert case["ours_ms"] > 0
        assert (case["share"] is None) == case["name"].endswith("generic")
    out = capsys.readouterr().out
    for part in ("peaks of 1 threads", "bound by", "mlp.down"):
        assert part in out
    with pytest.raises(SystemExit) as stop:
        main([*words, "--ops", "no.such"])
    assert stop.value.code == 2


def test_no_picture_without_a_peak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "kernels", "--isa", "generic", "--threads", "1"]
    assert main([*words, "--plot", str(tmp_path / "k.png")]) == 1
    assert "--plot: expected a kernel table whose peaks are measured" in capsys.readouterr().err


def test_more_rows_than_a_picture_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "kernels", "--rows", ",".join(map(str, range(1, 14)))]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--plot", str(tmp_path / "k.png")])
    assert stop.value.code == 2
    assert "at most 12 numbers of --rows" in capsys.readouterr().err


def test_a_picture_that_fails_costs_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_kernels, "plot_kernels", full)
    monkeypatch.setattr(run_kernels, "_check_shares", lambda *_: None)
    words = ["bench", "kernels", "--rows", "1", "--ops", "mlp.norm", "--isa", "generic", "generic"]
    words += ["--seconds", "0.001", "--threads", "1", "--json", str(tmp_path / "j.json")]
    assert main([*words, "--plot", str(tmp_path / "k.png")]) == 1
    said = capsys.readouterr()
    assert "No space left" in said.err
    assert said.out.count("mlp.norm") == 1  # a table that is named twice is timed once
    assert len(json.loads((tmp_path / "j.json").read_text())["cases"]) == 1
