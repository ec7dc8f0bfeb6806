"""stepguard bench kernels: the operations of a shape against what the machine can do."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from rich.table import Table

from stepguard.bench.kernels import Timing, measure_kernels
from stepguard.bench.machine import Setup, describe_machine
from stepguard.bench.outputs import write_json
from stepguard.bench.peaks import measure_peaks
from stepguard.bench.report import machine_text, progress_bar, say
from stepguard.bench.shapes import find_shape
from stepguard.bench.work import Op, operations_of
from stepguard.cli.show import console
from stepguard.runtime import active_isa, find_onnxruntime, isa_tables, multiplies_bfloat16
from stepguard.runtime._isa import ISA_VARIABLE

REFERENCE = "generic"


def run_kernels(arguments: argparse.Namespace) -> int:
    """Checks, times, prints."""
    shape = find_shape(arguments.shape)
    activations = "fp32" if arguments.quant == "float32" else arguments.activations
    ops = operations_of(
        shape.shape, quant=arguments.quant, half=arguments.kv == "fp16", activations=activations
    )
    ops = _chosen(arguments, ops)
    tables = _tables(arguments)
    if activations == "bf16":
        tables = _with_bfloat16(arguments, tables)
    setup = Setup(
        find_onnxruntime().version, ", ".join(tables), arguments.threads, arguments.kv, activations
    )
    machine = describe_machine(setup)
    say("measuring peaks")
    peaks = measure_peaks(arguments.threads)
    with progress_bar(f"{shape.name}: {len(ops)} operations") as progress:
        timings = measure_kernels(
            ops,
            tables=tables,
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
        "settings": {"quant": arguments.quant, "context": arguments.context},
        "peaks": peaks.to_dict(),
        "cases": [timing.to_dict() for timing in timings],
    }
    if arguments.json:
        write_json(arguments.json, report)
    out = console()
    out.print(machine_text(machine), soft_wrap=True)
    out.print(peaks.line(), soft_wrap=True)
    out.print(kernels_table(timings, shape.name, arguments.context))
    return 0


def _tables(arguments: argparse.Namespace) -> list[str]:
    """Those that are asked for, else the one that the environment forces, else all."""
    if arguments.isa:
        return [active_isa(name) for name in arguments.isa]
    if os.environ.get(ISA_VARIABLE):
        return [active_isa()]
    there = [table.name for table in isa_tables()]
    return [name for name in there if name != REFERENCE] or [REFERENCE]


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
