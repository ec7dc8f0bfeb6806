"""stepguard bench throughput: many sessions of one guard, beside other engines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich.table import Table

from stepguard.bench.arguments import check_table
from stepguard.bench.gpu import find_gpu
from stepguard.bench.latency import prepare
from stepguard.bench.latency.devices import our_setup
from stepguard.bench.latency.engines import (
    Running,
    Wanted,
    chosen_rows,
    random_ids,
    start_engines,
    work_folder,
)
from stepguard.bench.latency.measure import OURS
from stepguard.bench.latency.report import engines_of, engines_text
from stepguard.bench.machine import Machine, Setup, describe_machine
from stepguard.bench.memory import our_memory
from stepguard.bench.outputs import write_json
from stepguard.bench.plot import check_plot, describe, name_beside, picture
from stepguard.bench.report import machine_text, progress_bar, say
from stepguard.bench.shapes import GuardShape, find_shape
from stepguard.bench.throughput import PERCENTILES, Company, Texts, measure_throughput
from stepguard.cli.show import console
from stepguard.export import progress_bar as export_bar
from stepguard.manifest import Manifest, load


def run_throughput(arguments: argparse.Namespace) -> int:
    """Prepares, checks, times, prints."""
    if (arguments.shape is None) == (arguments.model is None):
        arguments.usage("give a MODEL, or --shape NAME")
    shape = find_shape(arguments.shape) if arguments.shape else None
    check_table(arguments)
    check_plot(arguments.plot)
    if arguments.device == "cuda":
        find_gpu()  # before anything is made
    _check_room(arguments, shape)
    setup = _setup(arguments)  # what does not go with this model is said before anything is made
    with ExitStack() as stack:
        work = stack.enter_context(work_folder(arguments.work))
        model = _model(arguments, shape, work)
        manifest = load(model)
        run, texts = _start(stack, arguments, shape, model, manifest, work)
        machine = describe_machine(setup)
        with progress_bar(f"{_name(arguments)}: {', '.join(run.versions)}") as progress:
            cases = measure_throughput(
                run.engines,
                texts,
                sessions=arguments.sessions,
                rounds=arguments.rounds,
                leave_out=run.leave_out,
                progress=progress,
            )
    report = {
        "benchmark": "throughput",
        "machine": machine.to_dict(),
        "model": _name(arguments),
        "settings": {
            name: getattr(arguments, name)
            for name in ("context", "new", "question", "beside", "rounds", "seed", "device")
        }
        | {"activations": setup.activations},
        "versions": run.versions,
        "missing": run.missing,
        "cases": [case.to_dict() for case in cases],
    }
    out = console()
    out.print(machine_text(machine), soft_wrap=True)
    out.print(engines_text(run.versions, run.missing), soft_wrap=True, markup=False)
    out.print(throughput_table(cases, arguments))
    if arguments.json:
        write_json(arguments.json, report)
    if arguments.plot:
        plot_throughput(cases, machine, _name(arguments), arguments.plot)
    return 0


def _name(arguments: argparse.Namespace) -> str:
    return str(arguments.shape or arguments.model.name)


def _room(arguments: argparse.Namespace) -> int:
    """Tokens of the longest path."""
    return int(max(arguments.context + arguments.new + arguments.question, arguments.beside))


def _check_room(arguments: argparse.Namespace, shape: GuardShape | None) -> None:
    most = shape.shape.context if shape else load(arguments.model).architecture.context
    if _room(arguments) > most:
        arguments.usage(f"{_room(arguments)} tokens: the model's context is {most}")


def _setup(arguments: argparse.Namespace) -> Setup:
    linear = load(arguments.model).quantisation.linear if arguments.model else ["int4"]
    return our_setup(arguments.threads, arguments.device, arguments.activations, linear)


def _model(arguments: argparse.Namespace, shape: GuardShape | None, work: Path) -> Path:
    if shape is None:
        found: Path = arguments.model
        return found
    say(f"{shape.name}: a random model")
    with export_bar() as report:
        return prepare.prepare(OURS, shape, work, arguments.seed, report)


def _start(
    stack: ExitStack,
    arguments: argparse.Namespace,
    shape: GuardShape | None,
    model: Path,
    manifest: Manifest,
    work: Path,
) -> tuple[Running, Texts]:
    architecture, most = manifest.architecture, max(arguments.sessions)
    room = _room(arguments)
    rng = np.random.default_rng(arguments.seed)
    sizes = (arguments.context, arguments.new)
    contexts, steps = (
        [random_ids(rng, architecture.vocabulary, size) for _ in range(most)] for size in sizes
    )
    question, long = (
        random_ids(rng, architecture.vocabulary, size)
        for size in (arguments.question, arguments.beside)
    )
    wanted = Wanted(
        shape,
        arguments.peers,
        arguments.seed,
        arguments.threads,
        room + 512,
        sessions=most,
        memory=our_memory(manifest, most, room),
        model=model,
        device=arguments.device,
        activations=arguments.activations,
    )
    rows = chosen_rows(rng, architecture.vocabulary)
    return start_engines(stack, wanted, work, rows), Texts(contexts, steps, question, long)


def throughput_table(cases: Sequence[Company], arguments: argparse.Namespace) -> Table:
    """Verdicts a second and percentiles of latency of every engine, and the ratio to the best."""
    text = f"{arguments.new} tokens and a question of {arguments.question}"
    table = Table(title=f"each session has {arguments.context:,} tokens, and gets {text} a round")
    table.add_column("sessions")
    table.add_column("engine")
    table.add_column("verdicts/s", justify="right")
    for percent in PERCENTILES:
        table.add_column(f"p{percent}, ms", justify="right")
    table.add_column("ours: times as many", justify="right")
    for case in cases:
        for name in case.times:
            percentiles = [f"{case.latency(name, percent):,.0f}" for percent in PERCENTILES]
            ratio = f"{case.median(name) / case.median(OURS):.2f}" if name != OURS else ""
            first = case.name if name == OURS else ""
            way = name if name == OURS else f"{name}, {case.ways[name]}"
            table.add_row(first, way, f"{case.per_second(name):.2f}", *percentiles, ratio)
        table.add_section()
    return table


def plot_throughput(cases: Sequence[Company], machine: Machine, title: str, file: Path) -> None:
    """Verdicts a second over the number of sessions, a line for each engine, and a broken one
    beside the long read."""
    numbers = list(dict.fromkeys(case.sessions for case in cases))
    reads = dict.fromkeys((case.beside for case in cases), ":") | {0: "-"}
    with picture(file) as axes:
        for colour, name in enumerate(engines_of(cases)):
            for beside, style in reads.items():
                line = [
                    (numbers.index(case.sessions), case.per_second(name))
                    for case in cases
                    if case.beside == beside and name in case.times
                ]
                more = f", beside a read of {beside:,}" if beside else ""
                axes.plot(
                    *zip(*line, strict=True),
                    marker="o",
                    linestyle=style,
                    color=f"C{colour}",
                    label=name + more,
                )
        axes.set_xticks(range(len(numbers)), list(map(str, numbers)))
        axes.set(xlabel="sessions at once", ylabel="verdicts a second", ylim=(0, None))
        describe(axes, title, machine)
        name_beside(axes)
