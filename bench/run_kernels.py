"""stepguard bench kernels: the operations of a shape against what the machine can do."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from stepguard.bench.kernels import Timing, measure_kernels
from stepguard.bench.machine import Machine, Setup, describe_machine
from stepguard.bench.outputs import write_json
from stepguard.bench.peaks import Peaks, measure_peaks
from stepguard.bench.plot import check_plot, describe, grouped_bars, name_beside, picture
from stepguard.bench.report import machine_text, progress_bar, say
from stepguard.bench.shapes import find_shape
from stepguard.bench.work import Op, operations_of
from stepguard.cli.show import console
from stepguard.errors import StepguardError
from stepguard.export.shape import Shape
from stepguard.runtime import (
    activations_of,
    active_isa,
    find_onnxruntime,
    isa_tables,
    multiplies_bfloat16,
)
from stepguard.runtime._isa import ISA_VARIABLE

REFERENCE = "generic"
_MOST_DRAWN = 12  # numbers of rows, one below the other


def run_kernels(arguments: argparse.Namespace) -> int:
    """Checks, times, prints."""
    check_plot(arguments.plot)
    if arguments.plot and len(arguments.rows) > _MOST_DRAWN:
        arguments.usage(f"--plot: at most {_MOST_DRAWN} numbers of --rows fit into a picture")
    shape = find_shape(arguments.shape)
    kinds = _by_activations(arguments, _tables(arguments))
    plan = _planned(arguments, shape.shape, kinds)
    setup = Setup(
        find_onnxruntime().version,
        ", ".join(_every(kinds)),
        arguments.threads,
        arguments.kv,
        ", ".join(kinds),
    )
    machine = describe_machine(setup)
    say("measuring peaks")
    peaks = measure_peaks(arguments.threads)
    if arguments.plot:
        _check_shares(peaks, _every(kinds))
    with progress_bar(f"{shape.name}: {len(plan)} operations") as progress:
        timings = measure_kernels(
            plan,
            rows=arguments.rows,
            context=arguments.context,
            peaks=peaks,
            seconds=arguments.seconds,
            progress=progress,
        )
    report = {
        "benchmark": "kernels",
        "machine": machine.to_dict(),
        "shape": shape.name,
        "settings": {
            "quant": arguments.quant,
            "context": arguments.context,
            "activations": list(kinds),
        },
        "peaks": peaks.to_dict(),
        "cases": [timing.to_dict() for timing in timings],
    }
    out = console()
    out.print(machine_text(machine), soft_wrap=True)
    out.print(peaks.line(), soft_wrap=True)
    out.print(kernels_table(timings, shape.name, arguments.context))
    if arguments.json:
        write_json(arguments.json, report)
    if arguments.plot:
        plot_kernels(timings, machine, shape.name, arguments.plot)
    return 0


def _tables(arguments: argparse.Namespace) -> list[str]:
    """Those that are asked for, else the one that the environment forces, else all."""
    if arguments.isa:
        return list(dict.fromkeys(active_isa(name) for name in arguments.isa))
    if os.environ.get(ISA_VARIABLE):
        return [active_isa()]
    there = [table.name for table in isa_tables()]
    return [name for name in there if name != REFERENCE] or [REFERENCE]


def _by_activations(arguments: argparse.Namespace, tables: list[str]) -> dict[str, list[str]]:
    """Every kind of activations that is timed, and the tables that run it: those that are asked
    for, else the one that each table takes by itself."""
    found: dict[str, list[str]] = {}
    for wanted in dict.fromkeys(arguments.activations or [None]):
        able = _with_bfloat16(arguments, tables) if wanted == "bf16" else tables
        for table in able:
            try:
                kind = activations_of(wanted, {arguments.quant}, table)
            except ValueError as error:
                arguments.usage(f"--{error}")
            found.setdefault(kind, []).append(table)
    return found


def _every(kinds: Mapping[str, Sequence[str]]) -> list[str]:
    """The tables of all kinds, each once."""
    return list(dict.fromkeys(table for tables in kinds.values() for table in tables))


def _planned(
    arguments: argparse.Namespace, shape: Shape, kinds: Mapping[str, Sequence[str]]
) -> list[tuple[Op, Sequence[str]]]:
    """The operations that are asked for, those with activations once for each kind, and the tables
    that run them."""
    half = arguments.kv == "fp16"
    each = {
        kind: _chosen(
            arguments, operations_of(shape, quant=arguments.quant, half=half, activations=kind)
        )
        for kind in kinds
    }
    found: list[tuple[Op, Sequence[str]]] = []
    for same in zip(*each.values(), strict=True):  # the operation with each kind
        if not same[0].has_activations:
            found.append((same[0], _every(kinds)))
            continue
        for kind, op in zip(each, same, strict=True):
            found.append((dataclasses.replace(op, name=f"{op.name} x {kind}"), kinds[kind]))
    return found


def _with_bfloat16(arguments: argparse.Namespace, tables: list[str]) -> list[str]:
    able = [name for name in tables if multiplies_bfloat16(name)]
    if not able or (arguments.isa and able != tables):
        arguments.usage("--activations bf16: needs the table amx, and a CPU that has it")
    return able


def _chosen(arguments: argparse.Namespace, ops: list[Op]) -> list[Op]:
    unknown = set(arguments.ops or ()) - {op.name for op in ops}
    if unknown:
        names = ", ".join(repr(op.name) for op in ops)
        arguments.usage(f"--ops {', '.join(sorted(unknown))}: this shape has {names}")
    return [op for op in ops if not arguments.ops or op.name in arguments.ops]


def _check_shares(peaks: Peaks, tables: Sequence[str]) -> None:
    """What is drawn are shares of peaks: said before anything is timed where there are none."""
    if all(peaks.of(table, "fp32") is None for table in tables):
        raise StepguardError(
            "--plot",
            expected="a kernel table whose peaks are measured",
            got=", ".join(tables),
            fix="Choose another table with --isa, or leave --plot out.",
        )


def kernels_table(timings: Sequence[Timing], title: str, context: int) -> Table:
    """A line for each operation, number of rows and table."""
    table = Table(title=f"{title}, attention at {context:,} tokens; median of each")
    table.add_column("operation")
    for name in ("rows", "table", "error", "ms", "GB/s", "GOP/s", "bound by", "of that peak"):
        table.add_column(name, justify="right")
    for one in timings:
        rates = (one.bytes / one.seconds / 1e9, one.work.operations / one.seconds / 1e9)
        table.add_row(
            one.name,
            str(one.rows),
            one.table,
            f"{one.error:.0e}",
            f"{1000 * one.seconds:,.3f}",
            *(f"{rate:,.1f}" for rate in rates),
            one.bound,
            "" if one.share is None else f"{one.share:.0%}",
        )
    return table


def plot_kernels(timings: Sequence[Timing], machine: Machine, title: str, file: Path) -> None:
    """How much of its peak each operation reaches with each table, one number of rows below the
    other."""
    ops = list(dict.fromkeys(one.name for one in timings))
    tables = list(dict.fromkeys(one.table for one in timings))
    numbers = list(dict.fromkeys(one.rows for one in timings))
    shares = {(one.rows, one.table, one.name): one.share for one in timings}
    size = (max(8.0, 1.5 + 0.3 * len(ops) * len(tables)), 1.5 + 2.5 * len(numbers))
    with picture(file, size=size, rows=len(numbers)) as found:
        every = found if len(numbers) > 1 else [found]
        for axes, rows in zip(every, numbers, strict=True):
            bars = {
                table: [_percent(shares.get((rows, table, op))) for op in ops] for table in tables
            }
            grouped_bars(axes, ops, bars, turned=30)
            axes.tick_params(axis="x", labelbottom=rows == numbers[-1])
            axes.set_ylabel(f"{rows} row{'s' * (rows != 1)}: % of the peak")
            axes.grid(axis="y", alpha=0.3)
        describe(every[0], title, machine)
        name_beside(every[0])


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
