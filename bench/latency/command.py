"""stepguard bench latency and bench prefill: one shape beside other engines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from stepguard.bench.arguments import check_table
from stepguard.bench.latency.engines import Running, work_folder
from stepguard.bench.latency.measure import Case
from stepguard.bench.latency.one_shape import measure_shape, settings_of
from stepguard.bench.latency.report import (
    engines_text,
    latency_table,
    memory_table,
    plot_latency,
    profile_table,
)
from stepguard.bench.outputs import write_json
from stepguard.bench.plot import check_plot
from stepguard.bench.report import machine_text
from stepguard.bench.shapes import find_shape
from stepguard.cli.show import console


def run_latency(arguments: argparse.Namespace) -> int:
    """Prepares, checks, times, prints."""
    check_table(arguments)
    if arguments.usual and not arguments.peers:
        arguments.usage("--usual: there are no peers that it could time")
    check_plot(arguments.plot)
    shape = find_shape(arguments.shape)
    with work_folder(arguments.work) as work:
        found = measure_shape(shape, arguments, work)
    report = {"benchmark": arguments.benchmark, **found.to_dict(settings_of(arguments))}
    machine = f"{machine_text(found.machine)}\n{found.peaks.line()}"
    _print(found.run, found.cases, machine, arguments)
    if arguments.new:
        console().print(profile_table(found.cases))
    console().print(memory_table(found.memory))
    if arguments.json:
        write_json(arguments.json, report)
    if arguments.plot:
        plot_latency(found.cases, found.machine, shape.name, arguments.plot)
    return 0


def _print(
    run: Running, cases: Sequence[Case], machine: str, arguments: argparse.Namespace
) -> None:
    out = console()
    out.print(machine, soft_wrap=True)
    out.print(engines_text(run.versions, run.missing), soft_wrap=True, markup=False)
    title = f"after {arguments.context:,} tokens, a question of {arguments.question}"
    out.print(latency_table(cases, title if arguments.new else "read from nothing"))
