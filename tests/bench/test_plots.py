"""Pictures: what is drawn of which numbers, looked at in the figure before it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepguard.bench.cold import ALL_PARTS, INTERPRETER, Cold, Start
from stepguard.bench.kernels import Timing
from stepguard.bench.latency.measure import Case
from stepguard.bench.latency.report import plot_latency
from stepguard.bench.machine import Setup, describe_machine
from stepguard.bench.memory import Memory, Parts
from stepguard.bench.plot import picture, stacked_bars
from stepguard.bench.run_cold import plot_cold
from stepguard.bench.run_kernels import plot_kernels
from stepguard.bench.run_memory import plot_memory
from stepguard.bench.run_throughput import plot_throughput
from stepguard.bench.throughput import Company
from stepguard.bench.work import Work
from stepguard.cli import main

figures = pytest.importorskip("matplotlib.figure")
SETUP = Setup("1.0", "avx2", 2, "fp16", "int8")
MACHINE = describe_machine(SETUP)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of every figure that is written."""
    found: list[Any] = []
    real = figures.Figure.savefig

    def watched(figure: Any, *words: Any, **named: Any) -> None:
        found.extend(figure.axes)
        real(figure, *words, **named)

    monkeypatch.setattr(figures.Figure, "savefig", watched)
    return found


def names(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def labels(ticks: Any) -> list[str]:
    return [text.get_text() for text in ticks]


def company(sessions: int, beside: int, **times: float) -> Company:
    each = {name: [time] for name, time in times.items()}
    return Company(f"{sessions}", 4, each, sessions=sessions, beside=beside)


def test_verdicts_a_second(drawn: list[Any], tmp_path: Path) -> None:
    cases = [
        company(1, 0, stepguard=100, genai=200),
        company(1, 50, stepguard=125),
        company(8, 0, stepguard=50, genai=250),
        company(8, 50, stepguard=100, genai=500),
    ]
    plot_throughput(cases, MACHINE, "some", tmp_path / "t.svg")
    (axes,) = drawn
    alone, beside = "stepguard", "stepguard, beside a read of 50"
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert names(axes) == list(lines) == [alone, beside, "genai", "genai, beside a read of 50"]
    assert list(lines[alone].get_ydata()) == [10, 20]
    assert list(lines[beside].get_ydata()) == [8, 10]
    assert list(lines["genai, beside a read of 50"].get_xdata()) == [1]  # the second of them
    assert labels(axes.get_xticklabels()) == ["1", "8"]
    assert lines[alone].get_color() == lines[beside].get_color() != lines["genai"].get_color()
    assert axes.get_title().startswith("some\n")


def start(ms: float) -> Start:
    cpu = {part: ms / 2 for part in ALL_PARTS if part != INTERPRETER}
    return Start(ms * len(ALL_PARTS), dict.fromkeys(ALL_PARTS, ms), cpu, 70)


def test_parts_of_a_start(drawn: list[Any], tmp_path: Path) -> None:
    cold = Cold(start(30), [start(10), start(20), start(12)], SETUP)
    plot_cold(cold, MACHINE, "some", tmp_path / "c.png")
    (axes,) = drawn
    assert names(axes) == list(ALL_PARTS)
    assert labels(axes.get_yticklabels()) == ["first start", "later: median", "of it CPU time"]
    count = len(ALL_PARTS)
    last = [bar.get_x() + bar.get_width() for bar in axes.containers[-1]]
    assert last == pytest.approx([30 * count, 12 * count, 6 * (count - 1)])


def memory(name: str, rest: int) -> Memory:
    parts = Parts(9_000_000, 1_000_000, 2_000_000, 500_000, 3_000_000, 1_000_000, 1, 0, rest)
    return Memory(name, 5, "int8", 99, 1.0, 1.0, 8, parts, parts, 1, 1, 0, None, SETUP)


def test_parts_of_memory(drawn: list[Any], tmp_path: Path) -> None:
    plot_memory([memory("one", 2), memory("a$b$\x1b", -3)], MACHINE, tmp_path / "m.svg")
    (axes,) = drawn
    assert names(axes)[0] == "python"
    assert "total" not in names(axes)
    one, two = labels(axes.get_yticklabels())
    assert one == "one\nint8, 99 tokens"
    assert two.startswith("a$b$\\x1b")
    assert axes.containers[0][0].get_width() == 1.0
    assert axes.containers[-1][1].get_width() == 0  # of what is below nothing


def timing(name: str, rows: int, table: str, share: float | None) -> Timing:
    return Timing(name, rows, table, 0.0, 1.0, 1.0, Work(1.0, 1.0, "fp32"), share, "fp32")


def test_shares_of_peaks(drawn: list[Any], tmp_path: Path) -> None:
    timings = [
        timing(name, rows, table, share)
        for name in ("norm", "down")
        for rows in (1, 40)
        for table, share in (("avx2", 0.5), ("avx512", None))
        if (name, table) != ("down", "avx512")
    ]
    plot_kernels(timings, MACHINE, "some", tmp_path / "k.png")
    first, second = drawn
    assert names(first) == ["avx2", "avx512"]
    assert second.get_ylabel() == "40 rows: % of the peak"
    assert labels(second.get_xticklabels()) == ["norm", "down"]
    assert [bar.get_height() for bar in first.containers[0]] == [50, 50]


def test_step_verdicts(drawn: list[Any], tmp_path: Path) -> None:
    cases = [
        Case("step 4", 4, {"stepguard": [2.0, 4.0, 3.0], "genai": [9.0]}),
        Case("step 8", 8, {"stepguard": [5.0]}),
    ]
    plot_latency(cases, MACHINE, "some", tmp_path / "l.svg")
    (axes,) = drawn
    assert names(axes) == ["stepguard", "genai"]
    assert [bar.get_height() for bar in axes.containers[0]] == [3, 5]
    assert axes.containers[1][0].get_height() == 9


def test_the_same_numbers_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with picture(tmp_path / f"{name}.svg") as axes:
            stacked_bars(axes, ["one"], {"part": [1.0]})
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_nothing_is_written_where_drawing_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), picture(tmp_path / "a.svg"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_matplotlib")
@pytest.mark.parametrize("command", ["throughput", "cold", "memory", "kernels"])
def test_matplotlib_is_missed_before_anything_is_measured(
    command: str,
    tiny_guards: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = [] if command == "kernels" else [str(tiny_guards["int8"])]
    assert main(["bench", command, *model, "--plot", str(tmp_path / "p.png")]) == 1
    said = capsys.readouterr()
    assert "pip install 'stepguard[bench]'" in said.err
    assert said.out == ""
